using System.Collections;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux;

/// <summary>
/// posix_spawn(3). Unlike a child of <see cref="System.Diagnostics.Process"/>, such a child may be traced: .NET's SIGCHLD
/// thread doesn't know it and so doesn't take its ptrace stops away. It must be reaped with <see cref="ChildWait"/>.
/// </summary>
public static unsafe partial class Spawn
{
    // Both structs have less than 512 bytes in glibc (80 and 336) and musl.
    private const int OpaqueSize = 512;
    private const short SetSigDefault = 4, SetSigMask = 8, SetSession = 0x80; // spawn.h

    /// <summary>
    /// Starts a program with the given fds as its 0, 1 and 2 (null: inherited), no signals blocked and none ignored.
    /// Fds that are not close-on-exec are inherited.
    /// </summary>
    /// <returns>The child's pid.</returns>
    public static int Start(string path, IReadOnlyList<string> arguments, SafeFileHandle? input = null, SafeFileHandle? output = null, SafeFileHandle? error = null) =>
        Start(path, arguments, new[] { (input, 0), (output, 1), (error, 2) }.Where(d => d.Item1 is not null).Select(d => (d.Item1!, d.Item2)).ToList());

    /// <summary>The same with fds of the caller's choice; in the child each has the number given.</summary>
    /// <param name="path">The program.</param>
    /// <param name="arguments">With its name in front.</param>
    /// <param name="fds">What it gets.</param>
    /// <param name="newSession">In a session of its own, setsid(2): the terminal's signals are not for it.</param>
    public static int Start(string path, IReadOnlyList<string> arguments, IReadOnlyList<(SafeFileHandle Handle, int Number)> fds, bool newSession = false)
    {
        byte* actions = stackalloc byte[OpaqueSize], attributes = stackalloc byte[OpaqueSize], set = stackalloc byte[128];
        Check(ActionsInit(actions), "posix_spawn_file_actions_init");
        Check(AttributesInit(attributes), "posix_spawnattr_init");
        try
        {
            foreach (var (handle, number) in fds) Check(AddDup2(actions, (int)handle.DangerousGetHandle(), number), "posix_spawn_file_actions_adddup2");
            new Span<byte>(set, 128).Clear();
            Check(SetMask(attributes, set), "posix_spawnattr_setsigmask");
            new Span<byte>(set, 128).Fill(0xff);
            Check(SetDefault(attributes, set), "posix_spawnattr_setsigdefault");
            Check(SetFlags(attributes, (short)(SetSigDefault | SetSigMask | (newSession ? SetSession : 0))), "posix_spawnattr_setflags");
            using var argv = new StringVector(arguments);
            var environment = new List<string>();
            foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables()) environment.Add($"{variable.Key}={variable.Value}");
            using var envp = new StringVector(environment);
            Check(PosixSpawn(out var pid, path, actions, attributes, argv.Pointer, envp.Pointer), $"posix_spawn {path}");
            return pid;
        }
        finally
        {
            Check(ActionsDestroy(actions), "posix_spawn_file_actions_destroy");
            Check(AttributesDestroy(attributes), "posix_spawnattr_destroy");
        }
    }

    /// <summary>A pipe, both ends close-on-exec: pipe2(2).</summary>
    public static (SafeFileHandle Read, SafeFileHandle Write) Pipe()
    {
        var fds = stackalloc int[2];
        const int closeOnExec = 0x80000;
        RawSyscall.Checked("pipe2", null, RawSyscall.Pipe2, (long)fds, closeOnExec);
        return (new SafeFileHandle(fds[0], true), new SafeFileHandle(fds[1], true));
    }

    // These functions return the errno instead of setting it.
    private static void Check(int errno, string call)
    {
        if (errno != 0) throw new LinuxException(call, errno);
    }

    /// <summary>A NULL-terminated char*[].</summary>
    private sealed class StringVector : IDisposable
    {
        private readonly nint[] _strings;
        private GCHandle _pin;

        public StringVector(IReadOnlyList<string> strings)
        {
            _strings = new nint[strings.Count + 1];
            for (var i = 0; i < strings.Count; i++) _strings[i] = Marshal.StringToCoTaskMemUTF8(strings[i]);
            _pin = GCHandle.Alloc(_strings, GCHandleType.Pinned);
        }

        public nint* Pointer => (nint*)_pin.AddrOfPinnedObject();

        public void Dispose()
        {
            _pin.Free();
            foreach (var s in _strings) Marshal.FreeCoTaskMem(s);
        }
    }

    [LibraryImport("libc", EntryPoint = "posix_spawn", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int PosixSpawn(out int pid, string path, byte* actions, byte* attributes, nint* argv, nint* envp);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_init")]
    private static partial int ActionsInit(byte* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_destroy")]
    private static partial int ActionsDestroy(byte* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_adddup2")]
    private static partial int AddDup2(byte* actions, int fd, int newFd);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_init")]
    private static partial int AttributesInit(byte* attributes);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_destroy")]
    private static partial int AttributesDestroy(byte* attributes);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setsigmask")]
    private static partial int SetMask(byte* attributes, byte* set);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setsigdefault")]
    private static partial int SetDefault(byte* attributes, byte* set);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setflags")]
    private static partial int SetFlags(byte* attributes, short flags);
}
