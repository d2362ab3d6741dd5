using Crstore.Capture;
using Crstore.Capture.Freezing;
using Crstore.Capture.Memory;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>Targets whose memory is gone: an error, never an image without it.</summary>
public sealed class GoneTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_process_without_its_main_thread_is_refused(bool readAhead)
    {
        using var target = TargetProcess.Start("leader_gone", "2");
        target.Expect("ready");
        using var crew = new FreezeCrew();
        var e = Assert.Throws<TargetException>(() => MemoryCapture.Prepare(new MemoryRequest
        {
            Pid = target.Pid,
            Options = new CaptureOptions { Pid = target.Pid },
            Space = new MemorySpace(null),
            Rehearsal = true,
            Crew = crew,
            Vmas = readAhead ? VmaPlan.PrepareAhead(target.Pid, embedFiles: false, honourDontDump: false) : null,
        }).Dispose());
        Assert.Contains("main thread has exited", e.Message);
    }

    [Fact]
    public void Memory_that_is_gone_while_it_is_copied_is_an_error_and_not_an_unreadable_page()
    {
        using var target = TrapTests.Started();
        var area = VirtualPage.Of(TrapTests.Area(target.Ask("map a 3")));
        var space = new MemorySpace(null);
        using var buffer = new PageBuffer(1 << 20);
        buffer.Prepare(1 << 20);
        using var crew = new FreezeCrew();
        using var reader = new PageReader(target.Pid, new CopyQueue(), crew);
        target.Signal(9);
        target.WaitForExit();
        Assert.Equal(Errno.ESRCH, Assert.Throws<LinuxException>(() => reader.Copy(new PageRange(area, 3), forced: true, buffer, space)).ErrorNumber);
        reader.Copy(new PageRange(area, 3), forced: false, buffer, space);
        Assert.Equal(Errno.ESRCH, Assert.Throws<LinuxException>(() => reader.Flush(buffer, space)).ErrorNumber);
    }
}
