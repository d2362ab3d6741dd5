using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>epoll with all that it watches.</summary>
public class EpollTests
{
    private const string Watch = """
        import os, select, sys
        def ready(ep):
            return " ".join(f"{fd}:{events:x}" for fd, events in sorted(ep.poll(0))) or "-"
        """;

    [Fact]
    public void A_one_shot_that_has_fired_stays_silent_until_it_is_armed_again()
    {
        using var run = RestartRun.Python(Watch + """

            ep = select.epoll()
            r, w = os.pipe()
            r2, w2 = os.pipe()
            silent, ended = os.pipe(), os.pipe()
            ep.register(r, select.EPOLLIN | select.EPOLLONESHOT)
            ep.register(r2, select.EPOLLIN | select.EPOLLONESHOT)
            ep.register(silent[0], select.EPOLLIN | select.EPOLLONESHOT)
            ep.register(ended[0], select.EPOLLIN | select.EPOLLONESHOT)
            for end in (w, w2, silent[1], ended[1]): os.write(end, b"x")
            assert len(ep.poll(0)) == 4
            ep.modify(r2, select.EPOLLIN | select.EPOLLONESHOT)
            os.read(silent[0], 1)
            print("ready")
            for line in sys.stdin:
                first = ready(ep) == f"{r2}:1"
                os.write(silent[1], b"x")
                os.close(ended[1])
                second = ready(ep)
                ep.modify(r, select.EPOLLIN | select.EPOLLONESHOT)
                third = ready(ep) == f"{r}:1"
                os.close(w)
                print(first, second, third, ready(ep))
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("True - True -", run.Ask("now"));
    }

    [Fact]
    public void An_epoll_in_an_epoll_and_one_shared_with_a_child_go_on()
    {
        using var run = RestartRun.Python(Watch + """

            outer, inner = select.epoll(), select.epoll()
            r, w = os.pipe()
            outer.register(inner.fileno(), select.EPOLLIN)
            inner.register(r, select.EPOLLIN)
            inherited = select.epoll()
            go, say = os.pipe(), os.pipe()
            child = os.fork()
            if child == 0:
                own = os.pipe()                     # only the child has it
                inherited.register(own[0], select.EPOLLIN)
                os.write(say[1], b"x")
                while os.read(go[0], 1): os.write(own[1], b"x"); os.write(say[1], b"x")
            os.read(say[0], 1)
            print("ready")
            for line in sys.stdin:
                first = ready(outer), len(inherited.poll(0))
                os.write(w, b"x"); os.write(go[1], b"x"); os.read(say[0], 1)
                print(*first, ready(outer) == f"{inner.fileno()}:1", ready(inner) == f"{r}:1", len(inherited.poll(0)))
            """);
        run.Expect("ready");
        run.Cycle(tree: true);
        Assert.Equal("- 0 True True 1", run.Ask("now"));
    }

    [Fact]
    public void A_target_whose_number_was_closed_is_still_watched_through_its_duplicate()
    {
        using var run = RestartRun.Python(Watch + """

            ep = select.epoll()
            r, w = os.pipe()
            gone, w2 = os.pipe()
            ep.register(r, select.EPOLLIN)
            copy = os.dup(r)
            os.close(r)
            file = os.open("/dev/null", os.O_RDONLY)  # takes its number
            ep.register(gone, select.EPOLLIN)
            copy2 = os.dup(gone)
            os.close(gone)                            # nobody takes that one
            assert file == r
            print("ready")
            for line in sys.stdin:
                first = ready(ep)
                os.write(w, b"x"); os.write(w2, b"x")
                print(first, ready(ep) == " ".join(f"{n}:1" for n in sorted([r, gone])), os.readlink(f"/proc/self/fd/{r}"), os.path.exists(f"/proc/self/fd/{gone}"), os.get_inheritable(file))
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("- True /dev/null False False", run.Ask("now"));
        run.Cycle();
        Assert.Equal("3:1 6:1 True /dev/null False False", Sorted(run.Ask("now")));

        static string Sorted(string line) => System.Text.RegularExpressions.Regex.Replace(line, @"^\d+:1 \d+:1", "3:1 6:1");
    }

    [Fact]
    public void An_asyncio_program_on_eventfds_and_pipes_goes_on()
    {
        using var run = RestartRun.Python("""
            import asyncio, asyncio.selector_events, os, subprocess, sys, threading
            class Waker:                              # in place of the loop's pair of sockets
                def __init__(self, fd): self.fd = fd
                def fileno(self): return self.fd
                def recv(self, n): return os.read(self.fd, 8)
                def send(self, data): return os.write(self.fd, (1).to_bytes(8, "little"))
                def close(self): pass
            def make(self):
                self._ssock = self._csock = Waker(os.eventfd(0, os.EFD_NONBLOCK))
                self._internal_fds += 1
                self._add_reader(self._ssock.fileno(), self._read_from_self)
            asyncio.selector_events.BaseSelectorEventLoop._make_self_pipe = make
            ticks = 0
            async def ticker():
                global ticks
                while True:
                    await asyncio.sleep(0.02)
                    ticks += 1
            async def reader(pipe):
                stream = asyncio.StreamReader()
                await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
                return stream
            async def main():
                loop = asyncio.get_running_loop()
                stdin = await reader(sys.stdin)
                cat = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
                answers = await reader(cat.stdout)
                queue = asyncio.Queue()
                async def relay():
                    while line := await answers.readline(): await queue.put(line)
                tasks = [asyncio.create_task(ticker()), asyncio.create_task(relay())]
                print("ready", flush=True)
                n = 0
                while line := await stdin.readline():
                    n += 1
                    cat.stdin.write(line)
                    before = ticks
                    await asyncio.sleep(0.2)
                    result = await loop.run_in_executor(None, sum, range(1000))
                    print(n, (await queue.get()).decode().strip(), ticks > before, result, flush=True)
            asyncio.run(main())
            """);
        run.Expect("ready");
        Assert.Equal("1 a True 499500", run.Ask("a"));
        run.Cycle(tree: true);
        Assert.Equal("2 b True 499500", run.Ask("b"));
        run.Cycle(tree: true);
        Assert.Equal("3 c True 499500", run.Ask("c"));
    }

    [Fact]
    public void An_asyncio_program_goes_on_with_its_timers_streams_and_children()
    {
        Requires.That(Objects.Files.FileKinds.All.Any(k => k.Name.Contains("socket", StringComparison.Ordinal)), "sockets that restart");
        using var run = RestartRun.Python("""
            import asyncio, sys
            ticks = 0
            async def ticker():
                global ticks
                while True:
                    await asyncio.sleep(0.02)
                    ticks += 1
            async def main():
                loop = asyncio.get_running_loop()
                stdin = asyncio.StreamReader()
                await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
                child = await asyncio.create_subprocess_exec("/bin/cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
                queue = asyncio.Queue()
                async def relay():
                    while line := await child.stdout.readline(): await queue.put(line)
                tasks = [asyncio.create_task(ticker()), asyncio.create_task(relay())]
                print("ready", flush=True)
                n = 0
                while line := await stdin.readline():
                    n += 1
                    child.stdin.write(line)
                    before = ticks
                    await asyncio.sleep(0.2)
                    result = await loop.run_in_executor(None, sum, range(1000))
                    print(n, (await queue.get()).decode().strip(), ticks > before, result, flush=True)
            asyncio.run(main())
            """);
        run.Expect("ready");
        Assert.Equal("1 a True 499500", run.Ask("a"));
        run.Cycle(tree: true);
        Assert.Equal("2 b True 499500", run.Ask("b"));
        run.Cycle(tree: true);
        Assert.Equal("3 c True 499500", run.Ask("c"));
    }
}
