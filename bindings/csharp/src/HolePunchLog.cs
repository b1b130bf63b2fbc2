using System;
using System.Runtime.InteropServices;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>How important a log line is.</summary>
    public enum LogLevel
    {
        /// <summary>A bug, or lost service.</summary>
        Error = NativeMethods.HP_LOG_ERROR,

        /// <summary>Something to look at.</summary>
        Warning = NativeMethods.HP_LOG_WARN,

        /// <summary>What the library does.</summary>
        Information = NativeMethods.HP_LOG_INFO,

        /// <summary>Details, with addresses and peer IDs.</summary>
        Debug = NativeMethods.HP_LOG_DEBUG,

        /// <summary>Every step.</summary>
        Trace = NativeMethods.HP_LOG_TRACE,
    }

    /// <summary>Takes a log line.</summary>
    /// <param name="level">How important it is.</param>
    /// <param name="source">Where it comes from, such as "holepunch::client".</param>
    /// <param name="message">What it says.</param>
    public delegate void LogHandler(LogLevel level, string source, string message);

    /// <summary>The library's log lines. Without a handler the library is silent.</summary>
    public static unsafe class HolePunchLog
    {
        // The library calls them for as long as the process lives.
        private static readonly NativeMethods.hp_set_log_callback_callback_delegate callback = OnLine;
        private static readonly NativeMethods.hp_set_log_callback_free_user_data_delegate free = OnFree;

        /// <summary>
        /// Sends the library's log lines, up to a level, to a handler; null ends that. It concerns the whole process. The
        /// handler is called from any thread, but never twice at a time; it must neither call this method nor dispose
        /// clients or servers. If it throws, its line is lost. When this method returns, the former handler is not running
        /// and will not be called again.
        /// </summary>
        /// <exception cref="HolePunchException">
        /// Not possible here (<see cref="HolePunchError.Unsupported"/>): it is called from within a handler.
        /// </exception>
        public static void SetHandler(LogLevel level, LogHandler handler)
        {
            if (handler != null && (level < LogLevel.Error || level > LogLevel.Trace))
                throw new ArgumentOutOfRangeException(nameof(level), level, "There is no such level.");
            Library.EnsureUsable();
            if (handler == null)
            {
                Interop.Check(NativeMethods.hp_set_log_callback(null, NativeMethods.HP_LOG_ERROR, null, null));
                return;
            }
            // The library frees it, also if the call fails.
            var kept = (void*)GCHandle.ToIntPtr(GCHandle.Alloc(handler));
            Interop.Check(NativeMethods.hp_set_log_callback(callback, (int)level, kept, free));
        }

        [MonoPInvokeCallback(typeof(NativeMethods.hp_set_log_callback_callback_delegate))]
        private static void OnLine(int level, byte* target, byte* message, void* handler)
        {
            try
            {
                var log = (LogHandler)GCHandle.FromIntPtr((IntPtr)handler).Target;
                log((LogLevel)level, Interop.Text(target), Interop.Text(message));
            }
            catch (Exception)
            {
                // It cannot cross the library, and losing a line is the lesser evil.
            }
        }

        [MonoPInvokeCallback(typeof(NativeMethods.hp_set_log_callback_free_user_data_delegate))]
        private static void OnFree(void* handler)
        {
            GCHandle.FromIntPtr((IntPtr)handler).Free();
        }
    }

    /// <summary>Ahead-of-time compilers, such as Unity's, know by this name what native code will call.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    internal sealed class MonoPInvokeCallbackAttribute : Attribute
    {
        internal MonoPInvokeCallbackAttribute(Type type)
        {
            Type = type;
        }

        public Type Type { get; }
    }
}
