using System.Net;
using System.Net.Sockets;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>A capture that is refused for what the target is makes no store, and uses no CRID of one that is there.</summary>
public class RefusalTests
{
    [Fact]
    public void A_kernel_thread()
    {
        Assert.SkipUnless(File.Exists("/proc/2/comm") && File.ReadAllText("/proc/2/comm").Trim() == "kthreadd", "no kernel thread is visible here (a container)");
        AssertLeavesNoTrace(2, [], "is a kernel thread");
    }

    [Fact]
    public void A_zombie()
    {
        using var parent = TargetProcess.Python("import os,sys\npid=os.fork()\nif pid==0: os._exit(0)\nos.waitid(os.P_PID, pid, os.WEXITED|os.WNOWAIT)\nprint('ready', pid)\nsys.stdin.readline()");
        AssertLeavesNoTrace(int.Parse(parent.Expect("ready "), null), [], "zombie");
    }

    [Fact]
    public void A_thread()
    {
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        var thread = Directory.GetDirectories($"/proc/{target.Pid}/task").Select(d => int.Parse(Path.GetFileName(d), null)).First(tid => tid != target.Pid);
        AssertLeavesNoTrace(thread, [], $"is a thread of process {target.Pid}");
    }

    // /proc/PID of its first thread looks like a zombie's, and it is none.
    [Fact]
    public void A_process_whose_main_thread_has_exited()
    {
        using var target = TargetProcess.Start("leader_gone", "2");
        target.Expect("ready");
        AssertLeavesNoTrace(target.Pid, [], "main thread has exited");
    }

    [Fact]
    public void A_32_bit_program()
    {
        // The smallest one, as in tests/Capture/Freezing/RefusalTests.cs.
        var program = Convert.FromHexString("7f454c46010101000000000000000000" + "0200" + "0300" + "01000000" + "54800408" + "34000000"
            + "00000000" + "00000000" + "3400" + "2000" + "0100" + "0000" + "0000" + "0000"
            + "01000000" + "00000000" + "00800408" + "00800408" + "56000000" + "56000000" + "05000000" + "00100000" + "ebfe");
        using var directory = new TempDir("crstore-i386-");
        var path = directory.File("loop");
        File.WriteAllBytes(path, program);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        Assert.SkipWhen(Run.Shell($"timeout 0.2 {path}; test $? = 124").ExitCode != 0, "this kernel runs no 32-bit programs");
        using var target = TargetProcess.Start(path);
        AssertLeavesNoTrace(target.Pid, [], "32-bit");
    }

    [Fact]
    public void A_process_with_a_debugger()
    {
        Requires.Root();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        using var debugger = TargetProcess.Python("import ctypes,sys\nprint('attached', ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None))\nsys.stdin.readline()", $"{target.Pid}");
        Assert.Equal("0", debugger.Expect("attached "));
        AssertLeavesNoTrace(target.Pid, [], $"is already traced by process {debugger.Pid} (python3");
    }

    [Fact]
    public void Another_users_process()
    {
        Requires.Root();
        using var home = new TempDir().OpenToAll();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var result = OtherUser.Run(OtherUser.Nobody, [$"HOME={home.Path}", $"XDG_STATE_HOME={home.File("state")}"], "capture", $"{target.Pid}");
        Expect.Failure(result, ExitCode.Target, "runs as uid 0");
        Assert.False(Directory.Exists(Path.Combine(home.Path, "state", "crstore")));
    }

    [Theory]
    [InlineData("--require-restartable", "could not be restarted")]
    [InlineData("--tcp=wait=0.2", "no moment without TCP connections")]
    public void What_the_options_refuse_unless_a_hook_may_still_do_something_about_it(string option, string words)
    {
        using var target = TargetProcess.Python("""
            import socket
            s = socket.create_server(("127.0.0.1", 0))
            print("port", s.getsockname()[1])
            c, _ = s.accept()
            print("connected")
            input()
            """);
        using var client = new TcpClient();
        client.Connect(IPAddress.Loopback, int.Parse(target.Expect("port "), null));
        target.Expect("connected");
        AssertLeavesNoTrace(target.Pid, [option], words);

        using var store = new CliStore();
        Directory.CreateDirectory(Path.GetDirectoryName(store.Path)!);
        File.WriteAllText(store.File("hook"), $"#!/bin/sh\ntouch {store.File("called-")}$1\n");
        File.SetUnixFileMode(store.File("hook"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        Expect.Failure(store.Run("capture", $"{target.Pid}", option, "--hook", store.File("hook")), ExitCode.Target, words);
        Assert.True(File.Exists(store.File("called-pre-capture")));
    }

    private static void AssertLeavesNoTrace(int pid, string[] options, string words)
    {
        using var store = new CliStore();
        Expect.Failure(store.Run(["capture", $"{pid}", .. options]), ExitCode.Target, words);
        Assert.False(Directory.Exists(store.Path));
        using var other = TargetProcess.Start("/bin/sleep", "1000");
        Assert.Equal("1", store.Capture(other.Pid));
        Expect.Failure(store.Run(["capture", $"{pid}", .. options]), ExitCode.Target, words);
        Assert.Equal("2", store.Capture(other.Pid));
    }
}
