using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>What is tracked at all.</summary>
public sealed class ClassifierTests
{
    [Theory, InlineData("/dev/zero", true), InlineData("/dev/null", false)]
    public void A_private_mapping_of_a_device_is_tracked_only_if_it_is_the_zero_device(string device, bool tracked)
    {
        // The classifier asks for the file by its path below the root of a process: our own.
        var status = Linux.Files.FileStatus.Of(device);
        var on = new DeviceNumber((uint)(status.Dev >> 8) & 0xfff, (uint)(status.Dev & 0xff));
        var entry = new MapsEntry(0x10000, 0x20000, MemoryProtection.Read | MemoryProtection.Write, false, 0, on, status.Inode, device);
        var vma = new VmaClassifier(new FileCatalog(Environment.ProcessId), false, false).Classify(entry, "rd wr");
        Assert.False(vma.File!.Status!.Value.IsRegular);
        Assert.Equal(tracked, vma.Trackable);
    }
}
