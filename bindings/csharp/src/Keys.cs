using System;
using System.Security.Cryptography;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>A member's public key (X25519), by which others know it again if it keeps its <see cref="Identity"/>.</summary>
    public readonly struct PublicKey : IEquatable<PublicKey>
    {
        /// <summary>How many bytes it has.</summary>
        public const int Length = NativeMethods.HP_KEY_LEN;

        private readonly ulong first, second, third, fourth;

        /// <summary>Takes it from what <see cref="ToByteArray"/> has returned.</summary>
        public unsafe PublicKey(byte[] bytes)
        {
            Arguments.CheckLength(bytes, Length, nameof(bytes));
            fixed (byte* start = bytes)
                this = new PublicKey(start);
        }

        internal unsafe PublicKey(byte* bytes)
        {
            first = ((ulong*)bytes)[0];
            second = ((ulong*)bytes)[1];
            third = ((ulong*)bytes)[2];
            fourth = ((ulong*)bytes)[3];
        }

        /// <summary>Null for one of zeros, which stands for none in C.</summary>
        internal static unsafe PublicKey? OrNull(byte* bytes)
        {
            var key = new PublicKey(bytes);
            return key.Equals(default(PublicKey)) ? (PublicKey?)null : key;
        }

        /// <summary>Its bytes.</summary>
        public unsafe byte[] ToByteArray()
        {
            ulong* parts = stackalloc ulong[4];
            parts[0] = first;
            parts[1] = second;
            parts[2] = third;
            parts[3] = fourth;
            return Interop.Bytes((byte*)parts, Length);
        }

        /// <summary>What people compare: 32 hexadecimal digits in groups of four.</summary>
        public unsafe string Fingerprint
        {
            get
            {
                Library.EnsureUsable();
                const int capacity = NativeMethods.HP_FINGERPRINT_TEXT_LEN;
                byte* text = stackalloc byte[capacity];
                fixed (byte* key = ToByteArray())
                    Interop.Check(NativeMethods.hp_key_fingerprint(key, text, (UIntPtr)capacity, null));
                return Interop.Text(text, capacity);
            }
        }

        /// <summary>Whether it is the same key.</summary>
        public bool Equals(PublicKey other)
        {
            return first == other.first && second == other.second && third == other.third && fourth == other.fourth;
        }

        /// <summary>Whether it is the same key.</summary>
        public override bool Equals(object other)
        {
            return other is PublicKey && Equals((PublicKey)other);
        }

        /// <summary>A hash of it.</summary>
        public override int GetHashCode()
        {
            return first.GetHashCode();
        }

        /// <summary>Its <see cref="Fingerprint"/>.</summary>
        public override string ToString()
        {
            return Fingerprint;
        }

        /// <summary>Whether they are the same key.</summary>
        public static bool operator ==(PublicKey left, PublicKey right)
        {
            return left.Equals(right);
        }

        /// <summary>Whether they are different keys.</summary>
        public static bool operator !=(PublicKey left, PublicKey right)
        {
            return !left.Equals(right);
        }
    }

    /// <summary>
    /// A private key (X25519). Whoever joins sessions with the same one is known again by its <see cref="PublicKey"/>; keep
    /// its bytes where nobody else reads them.
    /// </summary>
    public sealed class Identity
    {
        private readonly byte[] secret;

        /// <summary>Takes it from what <see cref="ToByteArray"/> has returned.</summary>
        public unsafe Identity(byte[] bytes)
        {
            Arguments.CheckLength(bytes, HolePunch.PublicKey.Length, nameof(bytes));
            Library.EnsureUsable();
            secret = (byte[])bytes.Clone();
            byte* key = stackalloc byte[HolePunch.PublicKey.Length];
            fixed (byte* start = secret)
                Interop.Check(NativeMethods.hp_identity_public_key(start, key));
            PublicKey = new PublicKey(key);
        }

        /// <summary>A fresh one.</summary>
        public static Identity Generate()
        {
            var bytes = new byte[HolePunch.PublicKey.Length];
            using (RandomNumberGenerator random = RandomNumberGenerator.Create())
                random.GetBytes(bytes);
            return new Identity(bytes);
        }

        /// <summary>What others see of it.</summary>
        public PublicKey PublicKey { get; }

        /// <summary>The secret, to be kept for the next time.</summary>
        public byte[] ToByteArray()
        {
            return (byte[])secret.Clone();
        }
    }
}
