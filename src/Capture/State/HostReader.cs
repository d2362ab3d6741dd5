using System.Reflection;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model.Format;

namespace Crstore.Capture.State;

/// <summary>Fills the <see cref="Host"/> of a checkpoint. Not for the freeze.</summary>
public static class HostReader
{
    /// <summary>This machine, now.</summary>
    public static Host Read()
    {
        var host = new Host
        {
            BootId = SystemInfo.BootId(),
            Hostname = SystemInfo.HostName(),
            KernelRelease = SystemInfo.KernelRelease(),
            KernelVersion = SystemInfo.KernelVersion(),
            CpuVendorModel = SystemInfo.CpuModel(),
            CrstoreVersion = typeof(HostReader).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "",
        };
        (host.ClockMonotonicNs, host.ClockBoottimeNs) = ClockOffsets.ToHost((SystemInfo.MonotonicNs(), SystemInfo.BoottimeNs()));
        using var self = ProcDirectory.Open(Environment.ProcessId);
        foreach (var kind in NamespaceLink.Names)
        {
            if (self.TryReadLink($"ns/{kind}", out var link) == 0) host.Namespaces.Add(new Namespace { Kind = kind, Inode = NamespaceLink.Inode(link) });
        }

        return host;
    }
}
