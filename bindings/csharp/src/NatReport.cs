using System;
using System.Net;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>What stands between this host and the server.</summary>
    public sealed class NatReport
    {
        internal unsafe NatReport(hp_nat_report* native)
        {
            Mapping = (NatMapping)native->mapping;
            Filtering = (NatFiltering)native->filtering;
            Allocation = (NatAllocation)native->allocation;
            Step = native->step;
            FirstPort = (int)native->first_port;
            LastPort = (int)native->last_port;
            Hairpin = (NatHairpin)native->hairpin;
            PortMapping = (PortMappingProtocols)native->port_mapping;
            if (native->inner_routers >= 0)
                InnerRouters = native->inner_routers;
            // A mapping that did not survive has a most without a least.
            if (native->lifetime_min_ms > 0 || native->lifetime_max_ms > 0)
                MinMappingLifetime = Interop.Time(native->lifetime_min_ms);
            if (native->lifetime_max_ms > 0)
                MaxMappingLifetime = Interop.Time(native->lifetime_max_ms);
            Local = Interop.EndPoint(&native->local);
            Observed = Interop.EndPoint(&native->observed);
            ObservedIPv6 = Interop.EndPoint(&native->observed_ipv6);
        }

        /// <summary>Which outside endpoint the NAT gives this host.</summary>
        public NatMapping Mapping { get; }

        /// <summary>Whom the NAT lets in.</summary>
        public NatFiltering Filtering { get; }

        /// <summary>
        /// How the NAT chooses ports; <see cref="NatAllocation.Unknown"/> also where there is nothing to choose.
        /// </summary>
        public NatAllocation Allocation { get; }

        /// <summary>The difference between two mappings' ports, if <see cref="Allocation"/> is sequential; else 0.</summary>
        public int Step { get; }

        /// <summary>
        /// The last port seen if <see cref="Allocation"/> is sequential, the lowest one if it is random; else 0.
        /// </summary>
        public int FirstPort { get; }

        /// <summary>The highest port seen if <see cref="Allocation"/> is random; else 0.</summary>
        public int LastPort { get; }

        /// <summary>Whether two hosts behind the NAT reach each other by their outside endpoints.</summary>
        public NatHairpin Hairpin { get; }

        /// <summary>By what the router can be asked to open ports.</summary>
        public PortMappingProtocols PortMapping { get; }

        /// <summary>Routers on the way that have private addresses; null if none of them told.</summary>
        public int? InnerRouters { get; }

        /// <summary>
        /// How long an unused mapping lives at least; null if that was not asked for,
        /// <see cref="TimeSpan.Zero"/> if nothing survived.
        /// </summary>
        public TimeSpan? MinMappingLifetime { get; }

        /// <summary>How long it lives at most; null if that was not asked for or the end was not seen.</summary>
        public TimeSpan? MaxMappingLifetime { get; }

        /// <summary>The host's own IPv4 endpoint; null if there is none.</summary>
        public IPEndPoint Local { get; }

        /// <summary>The same as the server sees it; null if it was not reached over IPv4.</summary>
        public IPEndPoint Observed { get; }

        /// <summary>The host's IPv6 endpoint as the server sees it; null if it was not reached over IPv6.</summary>
        public IPEndPoint ObservedIPv6 { get; }

        /// <summary>The most important of it, for people to read.</summary>
        public override string ToString()
        {
            return "mapping: " + Mapping + ", filtering: " + Filtering + ", allocation: " + Allocation
                + (Observed == null ? "" : ", " + Local + " is seen as " + Observed);
        }
    }

    /// <summary>Which outside endpoint a NAT gives a host.</summary>
    public enum NatMapping
    {
        /// <summary>Not known.</summary>
        Unknown = NativeMethods.HP_NAT_UNKNOWN,

        /// <summary>There is no NAT.</summary>
        None = NativeMethods.HP_MAPPING_NONE,

        /// <summary>The same towards everyone.</summary>
        EndpointIndependent = NativeMethods.HP_MAPPING_ENDPOINT_INDEPENDENT,

        /// <summary>Another one for each remote address.</summary>
        AddressDependent = NativeMethods.HP_MAPPING_ADDRESS_DEPENDENT,

        /// <summary>Another one for each remote endpoint.</summary>
        AddressAndPortDependent = NativeMethods.HP_MAPPING_ADDRESS_AND_PORT_DEPENDENT,
    }

    /// <summary>Whom a NAT lets in.</summary>
    public enum NatFiltering
    {
        /// <summary>Not known.</summary>
        Unknown = NativeMethods.HP_NAT_UNKNOWN,

        /// <summary>Everyone.</summary>
        EndpointIndependent = NativeMethods.HP_FILTERING_ENDPOINT_INDEPENDENT,

        /// <summary>Addresses that were sent to.</summary>
        AddressDependent = NativeMethods.HP_FILTERING_ADDRESS_DEPENDENT,

        /// <summary>Endpoints that were sent to.</summary>
        AddressAndPortDependent = NativeMethods.HP_FILTERING_ADDRESS_AND_PORT_DEPENDENT,

        /// <summary>
        /// Other ports of an address that was sent to, at least; the server has only one address to ask from.
        /// </summary>
        NotPortDependent = NativeMethods.HP_FILTERING_NOT_PORT_DEPENDENT,
    }

    /// <summary>How a NAT chooses ports.</summary>
    public enum NatAllocation
    {
        /// <summary>Not known.</summary>
        Unknown = NativeMethods.HP_NAT_UNKNOWN,

        /// <summary>Each mapping's port is the one before plus <see cref="NatReport.Step"/>.</summary>
        Sequential = NativeMethods.HP_ALLOCATION_SEQUENTIAL,

        /// <summary>Without a pattern.</summary>
        Random = NativeMethods.HP_ALLOCATION_RANDOM,
    }

    /// <summary>Whether outside endpoints can be reached from inside.</summary>
    public enum NatHairpin
    {
        /// <summary>Not known.</summary>
        Unknown = NativeMethods.HP_NAT_UNKNOWN,

        /// <summary>They cannot.</summary>
        No = NativeMethods.HP_HAIRPIN_NO,

        /// <summary>They can.</summary>
        Yes = NativeMethods.HP_HAIRPIN_YES,
    }

    /// <summary>By what a router can be asked to open ports.</summary>
    [Flags]
    public enum PortMappingProtocols
    {
        /// <summary>By nothing, or it did not answer.</summary>
        None = 0,

        /// <summary>The Port Control Protocol (RFC 6887).</summary>
        Pcp = (int)NativeMethods.HP_PORT_MAPPING_PCP,

        /// <summary>The NAT Port Mapping Protocol (RFC 6886).</summary>
        NatPmp = (int)NativeMethods.HP_PORT_MAPPING_NAT_PMP,

        /// <summary>The Internet Gateway Device protocol of UPnP.</summary>
        Upnp = (int)NativeMethods.HP_PORT_MAPPING_UPNP,
    }
}
