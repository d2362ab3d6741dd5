using System.Diagnostics;
using Crstore.Linux.Files;
using Crstore.Restore.Restart;
using Xunit;

namespace Crstore.Tests.Restore;

/// <summary>Copying between a terminal and a pseudo-terminal.</summary>
public class TerminalCopyTests
{
    // In the background each look at who has the foreground ends a run: those must not follow each other at once, whatever the other end is like.
    [Theory, InlineData(true), InlineData(false)]
    public void In_the_background_it_waits_also_while_no_process_has_the_other_end_open(bool open)
    {
        var (window, terminal) = Terminals.Create(0);
        var (master, slave) = Terminals.Create(0);
        using var wake = EventFiles.CreateEvent(0, semaphore: false);
        using (window)
        using (terminal)
        using (master)
        using (slave)
        {
            if (!open) slave.Dispose();
            var copy = new TerminalCopy(terminal, master, wake);
            var runs = 0;
            for (var clock = Stopwatch.StartNew(); clock.ElapsedMilliseconds < 500; runs++) Assert.True(copy.Run(listen: false));
            Assert.InRange(runs, 1, 20);
        }
    }
}
