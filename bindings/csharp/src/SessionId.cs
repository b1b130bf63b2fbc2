using System;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>Session IDs: what peers share, and nobody else should know.</summary>
    public static class SessionId
    {
        /// <summary>The longest session ID in bytes.</summary>
        public const int MaxLength = NativeMethods.HP_MAX_SESSION_ID_LEN;

        /// <summary>
        /// A fresh session ID of 128 random bits as 32 hexadecimal digits: a secret that no server can guess.
        /// </summary>
        public static unsafe string Generate()
        {
            Library.EnsureUsable();
            const int capacity = NativeMethods.HP_SESSION_ID_TEXT_LEN;
            byte* text = stackalloc byte[capacity];
            Interop.Check(NativeMethods.hp_session_id_generate(text, (UIntPtr)capacity, null));
            return Interop.Text(text, capacity);
        }
    }
}
