using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>Terminals and pseudo-terminals: ioctl_tty(2), pts(4).</summary>
public static unsafe class Terminals
{
    /// <summary>struct termios2, asm-generic/termbits.h.</summary>
    public const int TermiosSize = 44;

    // ioctl_tty(2), ioctl_list(2).
    private const long GetTermios2 = 0x802c542a, SetTermios2 = 0x402c542b, GetSize = 0x5413, SetSize = 0x5414, GetGroup = 0x540f, SetGroup = 0x5410,
        GetLock = 0x80045439, SetLock = 0x40045431, GetPacketMode = 0x80045438, SetPacketMode = 0x5420, GetNumber = 0x80045430, GetPeer = 0x5441;

    private const long Ioctl = 16, SignalMask = 14; // syscall_64.tbl
    private const int NoControllingTerminal = 0x100, CloseOnExec = 0x80000; // O_NOCTTY, O_CLOEXEC, open(2)

    /// <summary>struct termios2; null if it is no terminal.</summary>
    public static byte[]? TryGetTermios(SafeFileHandle terminal)
    {
        var termios = new byte[TermiosSize];
        fixed (byte* at = termios) return RawSyscall.Errno(Ioctl, terminal.DangerousGetHandle(), GetTermios2, (long)at) == 0 ? termios : null;
    }

    /// <summary>Sets them at once. Also from the background.</summary>
    public static void SetTermios(SafeFileHandle terminal, ReadOnlySpan<byte> termios)
    {
        if (termios.Length != TermiosSize) throw new ArgumentException($"{termios.Length} bytes are no termios", nameof(termios));
        fixed (byte* at = termios) Unstopped(terminal, "ioctl(TCSETS2)", SetTermios2, (long)at);
    }

    /// <summary>
    /// The same settings, but for what the terminal itself would do to bytes or because of them: cfmakeraw(3). Each byte is read as soon as it comes.
    /// </summary>
    public static byte[] Raw(ReadOnlySpan<byte> termios)
    {
        // struct termios2: input, output, control and local modes, line discipline, control characters; termios(3).
        const int local = 12, characters = 17, readTimeout = 5, readLeast = 6; // VTIME, VMIN
        const uint inputBits = 0x5eb, outputBits = 1, sizeAndParity = 0x130, eightBits = 0x30, localBits = 0x804b;
        if (termios.Length != TermiosSize) throw new ArgumentException($"{termios.Length} bytes are no termios", nameof(termios));
        var raw = termios.ToArray();
        Change(0, inputBits, 0);    // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
        Change(4, outputBits, 0);   // OPOST
        Change(8, sizeAndParity, eightBits);
        Change(local, localBits, 0); // ECHO ECHONL ICANON ISIG IEXTEN
        raw[characters + readTimeout] = 0;
        raw[characters + readLeast] = 1;
        return raw;

        void Change(int at, uint clear, uint set)
        {
            var word = raw.AsSpan(at, sizeof(uint));
            BinaryPrimitives.WriteUInt32LittleEndian(word, (BinaryPrimitives.ReadUInt32LittleEndian(word) & ~clear) | set);
        }
    }

    /// <summary>Rows and columns.</summary>
    public static (ushort Rows, ushort Columns) GetWindow(SafeFileHandle terminal)
    {
        var size = stackalloc ushort[4]; // struct winsize
        RawSyscall.Checked("ioctl(TIOCGWINSZ)", null, Ioctl, terminal.DangerousGetHandle(), GetSize, (long)size);
        return (size[0], size[1]);
    }

    /// <summary>TIOCSWINSZ.</summary>
    public static void SetWindow(SafeFileHandle terminal, uint rows, uint columns)
    {
        var size = stackalloc ushort[] { (ushort)rows, (ushort)columns, 0, 0 };
        RawSyscall.Checked("ioctl(TIOCSWINSZ)", null, Ioctl, terminal.DangerousGetHandle(), SetSize, (long)size);
    }

    /// <summary>Foreground process group; 0 if this process has another terminal or none.</summary>
    public static int GroupOf(SafeFileHandle terminal)
    {
        int group;
        return RawSyscall.Errno(Ioctl, terminal.DangerousGetHandle(), GetGroup, (long)&group) == 0 ? group : 0;
    }

    /// <summary>TIOCSPGRP. Also from the background.</summary>
    public static void SetGroupOf(SafeFileHandle terminal, int group) => Unstopped(terminal, "ioctl(TIOCSPGRP)", SetGroup, (long)&group);

    /// <summary>A new pseudo-terminal, unlocked: master and slave, none of them anybody's controlling terminal.</summary>
    /// <param name="wanted">The number N of /dev/pts/N that it should have; it has another one if that is taken.</param>
    public static (SafeFileHandle Master, SafeFileHandle Slave) Create(uint wanted)
    {
        const uint most = 512; // numbers below it are taken for a moment
        var others = new List<SafeFileHandle>();
        try
        {
            while (true)
            {
                var master = Memory.RawFile.Open("/dev/ptmx", (Memory.RawOpen)(2 | NoControllingTerminal));
                // The kernel gives the lowest one that is free.
                var number = NumberOf(master);
                if (number < wanted && wanted < most)
                {
                    others.Add(master);
                    continue;
                }

                if (number > wanted && others.Count > 0)
                {
                    others.Add(master);
                    master = others[0];
                    others.RemoveAt(0);
                }

                SetInt(master, "ioctl(TIOCSPTLCK)", SetLock, 0);
                var slave = RawSyscall.Checked("ioctl(TIOCGPTPEER)", null, Ioctl, master.DangerousGetHandle(), GetPeer, 2 | NoControllingTerminal | CloseOnExec);
                return (master, new SafeFileHandle((nint)slave, ownsHandle: true));
            }
        }
        finally
        {
            foreach (var other in others) other.Dispose();
        }
    }

    /// <summary>The N of /dev/pts/N, of a master.</summary>
    public static uint NumberOf(SafeFileHandle master) => (uint)GetInt(master, "ioctl(TIOCGPTN)", GetNumber);

    /// <summary>unlockpt(3) was not called yet, of a master.</summary>
    public static bool IsLocked(SafeFileHandle master) => GetInt(master, "ioctl(TIOCGPTLCK)", GetLock) != 0;

    /// <summary>Locks it again.</summary>
    public static void Lock(SafeFileHandle master) => SetInt(master, "ioctl(TIOCSPTLCK)", SetLock, 1);

    /// <summary>TIOCGPKT, of a master.</summary>
    public static bool IsPacketMode(SafeFileHandle master) => GetInt(master, "ioctl(TIOCGPKT)", GetPacketMode) != 0;

    /// <summary>TIOCPKT.</summary>
    public static void SetPacketModeOf(SafeFileHandle master) => SetInt(master, "ioctl(TIOCPKT)", SetPacketMode, 1);

    private static int GetInt(SafeFileHandle terminal, string call, long request)
    {
        int value;
        RawSyscall.Checked(call, null, Ioctl, terminal.DangerousGetHandle(), request, (long)&value);
        return value;
    }

    private static void SetInt(SafeFileHandle terminal, string call, long request, int value) =>
        RawSyscall.Checked(call, null, Ioctl, terminal.DangerousGetHandle(), request, (long)&value);

    // Who does this in the background is stopped, unless SIGTTOU is blocked.
    private static void Unstopped(SafeFileHandle terminal, string call, long request, long argument)
    {
        const long block = 0, set = 2; // SIG_BLOCK, SIG_SETMASK
        ulong stop = 1UL << (Signals.SIGTTOU - 1), before;
        RawSyscall.Checked("rt_sigprocmask", null, SignalMask, block, (long)&stop, (long)&before, sizeof(ulong));
        try
        {
            RawSyscall.Checked(call, null, Ioctl, terminal.DangerousGetHandle(), request, argument);
        }
        finally
        {
            RawSyscall.Checked("rt_sigprocmask", null, SignalMask, set, (long)&before, 0, sizeof(ulong));
        }
    }
}
