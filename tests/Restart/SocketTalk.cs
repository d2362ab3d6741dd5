namespace Crstore.Tests.Restart;

/// <summary>A python3 program that makes sockets and then answers questions about them: each line is an expression, its answer the value or the error.</summary>
internal static class SocketTalk
{
    private const string Ears = """

        print("ready")
        for line in sys.stdin:
            try:
                answer = eval(line)
            except OSError as failure:
                answer = errno.errorcode.get(failure.errno, failure)
            print(answer)
        """;

    /// <summary>Starts it and waits until all is made.</summary>
    public static RestartRun Start(string setup, params string[] arguments)
    {
        var run = RestartRun.Python("import sys, os, socket, select, struct, errno, time\nfrom socket import *\n" + setup + Ears, arguments);
        run.Expect("ready");
        return run;
    }
}
