using System;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>A member's name in a session: another one each time it joins.</summary>
    public readonly struct PeerId : IEquatable<PeerId>, IComparable<PeerId>
    {
        /// <summary>How many bytes it has.</summary>
        public const int Length = 16;

        private readonly ulong first, second;

        /// <summary>Takes it from what <see cref="ToByteArray"/> has returned.</summary>
        public unsafe PeerId(byte[] bytes)
        {
            Arguments.CheckLength(bytes, Length, nameof(bytes));
            fixed (byte* start = bytes)
            {
                first = ((ulong*)start)[0];
                second = ((ulong*)start)[1];
            }
        }

        internal unsafe PeerId(hp_peer_id native)
        {
            first = ((ulong*)native.bytes)[0];
            second = ((ulong*)native.bytes)[1];
        }

        internal unsafe hp_peer_id Native
        {
            get
            {
                hp_peer_id native = default(hp_peer_id);
                ((ulong*)native.bytes)[0] = first;
                ((ulong*)native.bytes)[1] = second;
                return native;
            }
        }

        /// <summary>Its bytes.</summary>
        public unsafe byte[] ToByteArray()
        {
            hp_peer_id native = Native;
            return Interop.Bytes(native.bytes, Length);
        }

        /// <summary>Whether it is the same name.</summary>
        public bool Equals(PeerId other)
        {
            return first == other.first && second == other.second;
        }

        /// <summary>Whether it is the same name.</summary>
        public override bool Equals(object other)
        {
            return other is PeerId && Equals((PeerId)other);
        }

        /// <summary>A hash of it.</summary>
        public override int GetHashCode()
        {
            // It is random.
            return first.GetHashCode();
        }

        /// <summary>An order that is the same for all members, as when one of two is to begin.</summary>
        public int CompareTo(PeerId other)
        {
            return string.CompareOrdinal(ToString(), other.ToString());
        }

        /// <summary>32 hexadecimal digits.</summary>
        public override string ToString()
        {
            return Interop.Hexadecimal(ToByteArray());
        }

        /// <summary>Whether they are the same name.</summary>
        public static bool operator ==(PeerId left, PeerId right)
        {
            return left.Equals(right);
        }

        /// <summary>Whether they are different names.</summary>
        public static bool operator !=(PeerId left, PeerId right)
        {
            return !left.Equals(right);
        }
    }
}
