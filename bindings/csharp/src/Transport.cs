using HolePunch.Native;

namespace HolePunch
{
    /// <summary>What carries a connection.</summary>
    public enum Transport
    {
        /// <summary>Datagrams.</summary>
        Udp = NativeMethods.HP_TRANSPORT_UDP,

        /// <summary>A byte stream.</summary>
        Tcp = NativeMethods.HP_TRANSPORT_TCP,

        /// <summary>
        /// UDP, and TCP with those of whom, as of ourselves, the server has heard over TCP only. For
        /// <see cref="HolePunchClientOptions.Transport"/> only; each connection is carried by one of the two.
        /// </summary>
        Either = NativeMethods.HP_TRANSPORT_EITHER,
    }
}
