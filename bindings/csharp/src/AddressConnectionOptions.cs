using System;
using System.Net;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>What an <see cref="AddressConnection"/> is made with. The defaults are fine in one network.</summary>
    public sealed class AddressConnectionOptions
    {
        /// <summary>
        /// The local address to bind to, which also fixes the address family; with port 0 the system chooses the port.
        /// Null, the default, is all addresses, on a port of the system's choice.
        /// </summary>
        public IPEndPoint LocalEndPoint { get; set; }

        /// <summary>
        /// A server of this library as "host:port", which tells our public address; over TCP it must have been started for
        /// that. At most one of this, <see cref="StunServer"/> and <see cref="PublicAddress"/> may be given.
        /// </summary>
        public string AddressServer { get; set; }

        /// <summary>A STUN server as "host:port", which tells our public address.</summary>
        public string StunServer { get; set; }

        /// <summary>Our public address, where it is known; the port is the one that we are bound to.</summary>
        public IPAddress PublicAddress { get; set; }

        /// <summary>How long an attempt at an address may take, 1 ms to an hour, 3 seconds by default.</summary>
        public TimeSpan AttemptTimeout { get; set; } = TimeSpan.FromSeconds(3);

        /// <summary>How many such times the peer is looked for, 1 to 1000, 3 by default.</summary>
        public int Attempts { get; set; } = 3;

        /// <summary>
        /// Whether the socket will be taken, false by default. Nothing is read from it before then, so that nothing is
        /// missing in it; data is not received in any other way.
        /// </summary>
        public bool TakesSocket { get; set; }

        /// <summary>The server to ask, with a NUL at its end; null for none.</summary>
        internal byte[] ServerText()
        {
            if (AddressServer != null)
                return Interop.NulTerminated(AddressServer, nameof(AddressServer));
            return StunServer == null ? null : Interop.NulTerminated(StunServer, nameof(StunServer));
        }

        /// <summary>What they are in C, but for the pointers.</summary>
        internal unsafe hp_conn_options ToNative(Transport transport)
        {
            if (transport != Transport.Udp && transport != Transport.Tcp)
                throw new ArgumentOutOfRangeException(nameof(transport), transport, "It must be Udp or Tcp.");
            long timeout = Interop.Milliseconds(AttemptTimeout);
            Check(nameof(AttemptTimeout), AttemptTimeout, timeout >= 1 && timeout <= 3600000, "1 ms to an hour");
            Check(nameof(Attempts), Attempts, Attempts >= 1 && Attempts <= 1000, "1 to 1000");
            var native = new hp_conn_options
            {
                struct_size = (uint)sizeof(hp_conn_options),
                transport = (int)transport,
                data_events = TakesSocket ? 0 : 1,
                address_source = AddressSource(),
                attempt_timeout_ms = (uint)timeout,
                attempts = (uint)Attempts,
            };
            if (LocalEndPoint != null)
                native.local = Interop.Address(Arguments.CheckEndPoint(LocalEndPoint, nameof(LocalEndPoint)));
            if (PublicAddress != null)
                native.address_known = Interop.Address(new IPEndPoint(PublicAddress, 0));
            return native;
        }

        private int AddressSource()
        {
            if ((AddressServer == null ? 0 : 1) + (StunServer == null ? 0 : 1) + (PublicAddress == null ? 0 : 1) > 1)
                throw new ArgumentException("At most one of AddressServer, StunServer and PublicAddress may be given.");
            if (AddressServer != null)
                return NativeMethods.HP_ADDRESS_SERVER;
            if (StunServer != null)
                return NativeMethods.HP_ADDRESS_STUN;
            return PublicAddress == null ? NativeMethods.HP_ADDRESS_NOBODY : NativeMethods.HP_ADDRESS_KNOWN;
        }

        private static void Check(string name, object value, bool isInRange, string range)
        {
            if (!isInRange)
                throw new ArgumentOutOfRangeException(name, value, "It must be " + range + ".");
        }
    }
}
