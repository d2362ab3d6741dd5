using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore.Restart;

/// <summary>Copies between a terminal and the master of a pseudo-terminal, both ways, on the thread that calls.</summary>
/// <param name="terminal">Somebody sits at it. Does not block.</param>
/// <param name="master">The program is at its other end. Does not block.</param>
/// <param name="wake">Becomes readable when the caller wants the thread back.</param>
internal sealed class TerminalCopy(SafeFileHandle terminal, SafeFileHandle master, SafeFileHandle wake)
{
    private const int Terminal = 0, Master = 1, Wake = 2;                     // in the set
    private const int TimeOfSilence = 100, TimeToTakeTheRest = 10_000;        // milliseconds
    private const int MostThatWaits = 64 * 1024;                             // more than a pseudo-terminal holds, drivers/tty/pty.c
    private readonly PollSet set = new(terminal, master, wake);
    private readonly OneWay typed = new(), shown = new();
    private bool silent; // no process has the pseudo-terminal open: that is found as long as it lasts, and may change

    /// <summary>Copies until it is woken.</summary>
    /// <param name="listen">Also what is typed; false: somebody else has the terminal's foreground. That may end without a word, so it comes back soon then.</param>
    /// <returns>False: the terminal is gone.</returns>
    public bool Run(bool listen)
    {
        while (true)
        {
            set.Watch(Terminal, (listen && typed.IsEmpty ? PollBits.In : 0) | (shown.IsEmpty ? 0 : PollBits.Out));
            var wanted = (shown.IsEmpty ? PollBits.In : 0) | (typed.IsEmpty ? 0 : PollBits.Out);
            set.Watch(Master, silent || wanted == 0 ? null : wanted);
            set.Watch(Wake, PollBits.In);
            set.Wait(silent || !listen ? TimeOfSilence : -1);
            if ((set.Found(Wake) & PollBits.In) != 0) return true;
            if (set.Found(Terminal).HasFlag(PollBits.In) && !typed.Fill(terminal)) return false;
            if ((set.Found(Terminal) & PollBits.Gone) != 0 && !set.Found(Terminal).HasFlag(PollBits.In)) return false;
            if (set.Found(Terminal).HasFlag(PollBits.Out) && !shown.Empty(terminal)) return false;
            silent = (set.Found(Master) & (PollBits.In | PollBits.Gone)) is var found && found != 0 && (!found.HasFlag(PollBits.In) || !shown.Fill(master));
            if (set.Found(Master).HasFlag(PollBits.Out) && !typed.Empty(master)) typed.Drop();
            if (!listen) return true;
        }
    }

    /// <summary>Shows what the program had written before its end: processes that it has left behind may write for ever.</summary>
    public void Drain()
    {
        for (var left = MostThatWaits; ; left -= shown.Length)
        {
            while (!shown.IsEmpty)
            {
                Only(Terminal, PollBits.Out, TimeToTakeTheRest);
                if (!set.Found(Terminal).HasFlag(PollBits.Out) || !shown.Empty(terminal)) return;
            }

            // poll(2) waits for what the kernel still has on its way through (n_tty_poll, drivers/tty/n_tty.c).
            Only(Master, PollBits.In, 0);
            if (left <= 0 || !set.Found(Master).HasFlag(PollBits.In) || !shown.Fill(master)) return;
        }
    }

    private void Only(int file, PollBits bits, int milliseconds)
    {
        set.Watch(Terminal, file == Terminal ? bits : null);
        set.Watch(Master, file == Master ? bits : null);
        set.Watch(Wake, null);
        set.Wait(milliseconds);
    }

    /// <summary>What has been read at one end and the other has not taken yet.</summary>
    private sealed class OneWay
    {
        private readonly byte[] bytes = new byte[4096];
        private int from, to;

        public bool IsEmpty => from == to;

        public int Length => to - from;

        /// <summary>False: there will be no more.</summary>
        public bool Fill(SafeFileHandle file)
        {
            var n = RawFile.TryRead(file, bytes);
            (from, to) = (0, Math.Max(n, 0));
            return n > 0 || IsForNow(n);
        }

        /// <summary>False: nobody will take it.</summary>
        public bool Empty(SafeFileHandle file)
        {
            var n = RawFile.TryWrite(file, bytes.AsSpan(from, Length));
            from += Math.Max(n, 0);
            return n >= 0 || IsForNow(n);
        }

        public void Drop() => from = to;

        private static bool IsForNow(int n) => n is -Errno.EAGAIN or -Errno.EINTR;
    }
}
