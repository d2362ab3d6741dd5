using System.Diagnostics;
using System.Globalization;
using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Crash.Injection;

/// <summary>
/// crstore is killed at random moments while it freezes and injects; a target that checks itself must notice nothing, and
/// nothing may be left in it. A few hundred kills here, ten thousand by tools/crash-inject.sh.
/// </summary>
public sealed class InjectionKillTests
{
    // A round takes one or two milliseconds; kills spread over a dozen of them. Where the target waits long for a cpu, so does a round.
    private const int ShortestLimitUs = 12_000, LongestLimitUs = 2_000_000;

    /// <summary>Targets: CRSTORE_KILL_TARGETS, else the C program alone.</summary>
    public static TheoryData<string> TargetNames =>
        [.. (Environment.GetEnvironmentVariable("CRSTORE_KILL_TARGETS") ?? "selfcheck").Split(',')];

    [Theory]
    [MemberData(nameof(TargetNames))]
    public void A_target_notices_nothing_when_crstore_is_killed_while_injecting(string name)
    {
        var asked = Environment.GetEnvironmentVariable("CRSTORE_KILLS");
        int kills = asked is null ? 200 : int.Parse(asked, CultureInfo.InvariantCulture);
        var random = Seeds.Random();
        using var target = SelfCheckingTarget.Start(name);
        target.Expect("ready");
        CheckStatus(target); // all of its threads are at work
        Inject(target.Pid, rounds: 3); // the vDSO's private page and lazily made things of the target are there afterwards
        var before = Footprint(target.Pid, name == "dotnet");
        var clock = Stopwatch.StartNew();
        var lastKill = Stopwatch.StartNew();
        int done = 0, inside = 0, limitUs = ShortestLimitUs;
        // Without a number given: as many as a minute allows, but some in any case.
        while (done < kills && (asked is not null || done < 20 || clock.Elapsed < TimeSpan.FromSeconds(50)))
        {
            if (!KillOnce(target, random.Next(limitUs)))
            {
                // Nobody was killed, but a target that got no cpu for long was let go in the middle: it may not notice that either.
                CheckStatus(target);
                Assert.True(lastKill.Elapsed < Patience.Limit, $"the driver gives up each time, behind {done} rounds");
                continue;
            }
            lastKill.Restart();
            var hit = SlotsAreInUse(target.Pid);
            if (hit) inside++;
            limitUs = hit ? Math.Max(ShortestLimitUs, limitUs / 4 * 3) : Math.Min(LongestLimitUs, limitUs / 2 * 3);
            if (++done % 100 == 0)
            {
                CheckStatus(target);
                Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name}: {done} kills, {inside} of them inside an injection, {clock.Elapsed.TotalSeconds:0} s"));
            }
        }
        // Where a target waits long for a cpu few may have hit by chance: one that is where it should be hit is killed, then.
        var (byChance, onPurpose) = (inside, 0);
        for (lastKill.Restart(); inside * 10 <= done;)
        {
            if (!KillInside(target))
            {
                Assert.True(lastKill.Elapsed < Patience.Limit, "the driver gives up each time");
                continue;
            }
            Assert.True(SlotsAreInUse(target.Pid), "killed in the middle of an injection it has left nothing in the slots");
            lastKill.Restart();
            (done, inside, onPurpose) = (done + 1, inside + 1, onPurpose + 1);
        }
        Inject(target.Pid, rounds: 5);
        CheckStatus(target);
        CheckStatus(target);
        Seeds.Print($"{name}: {done} kills, {byChance} of them inside an injection by chance, {onPurpose} on purpose");
        Assert.True(inside * 10 > done, $"only {inside} of {done} kills hit an injection: the loop tests nothing");
        Assert.False(SlotsAreInUse(target.Pid), "the last, undisturbed injection left its slots");
        var after = Footprint(target.Pid, name == "dotnet");
        Assert.True(before.Fds == after.Fds, $"fds before:\n{before.Fds}\nafter:\n{after.Fds}");
        if (name is not ("node" or "dotnet")) Assert.Equal(before.Mappings, after.Mappings); // their garbage collectors map and unmap
        Assert.Equal(0, TaskStatusFile.Read(target.Pid)!.TracerPid);
        // Copies of it were killed with crstore, or have exited: none is left, alive or as a child that nobody has waited for.
        Assert.Empty(TaskList.Children(target.Pid));
        Patience.Until(() => Copies(target.Pid) == 0, "the end of all copies of the target", pauseMs: 10);
        target.Send("quit");
        Assert.Equal(0, target.WaitForExit());
    }

    /// <summary>False if the driver gave up before its first round was complete: the target didn't run for long.</summary>
    private static bool KillOnce(TargetProcess target, int delayUs)
    {
        using var driver = InjectDriver.Start(target.Pid, null, out var said);
        if (!IsThere(target, said, "ready")) return false;
        var until = Stopwatch.GetTimestamp() + delayUs * (Stopwatch.Frequency / 1_000_000);
        while (Stopwatch.GetTimestamp() < until) Thread.SpinWait(10);
        driver.Kill();
        return true;
    }

    /// <summary>The same with one that is in the middle of an injection.</summary>
    private static bool KillInside(TargetProcess target)
    {
        using var driver = InjectDriver.StartHanging(target.Pid, out var said);
        if (!IsThere(target, said, "hanging")) return false;
        driver.Kill();
        return true;
    }

    /// <summary>False if the driver gave up.</summary>
    private static bool IsThere(TargetProcess target, string said, string wanted)
    {
        if (GaveUp(said)) return false;
        if (said != wanted) Assert.Fail($"the driver said: {said}; the target: {target.TryReadLine(TimeSpan.FromSeconds(2)) ?? "nothing"}, {target.Error}");
        return true;
    }

    /// <summary>Rounds that nobody disturbs. All must go well, but the first may find what the last kill left not run out yet.</summary>
    private static void Inject(int pid, int rounds)
    {
        for (var clock = Stopwatch.StartNew(); ;)
        {
            using var driver = InjectDriver.Start(pid, rounds, out var said);
            var (exitCode, output) = driver.Finish();
            if (GaveUp(said) || GaveUp(output.TrimEnd().Split('\n')[^1]))
            {
                Assert.True(clock.Elapsed < Patience.Limit, said + output);
                continue;
            }
            Assert.Equal(("ready", 0, ""), (said, exitCode, output));
            return;
        }
    }

    /// <summary>What a driver may rightly say of a target that gets no cpu for long; no other excuse counts.</summary>
    private static bool GaveUp(string said)
    {
        var gaveUp = (said.StartsWith("error ", StringComparison.Ordinal) && (said.Contains(" did not stop within ") || said.Contains(" did not come back in ")))
            || (said.StartsWith("refused ", StringComparison.Ordinal) && said.EndsWith(" the code of a crstore that was killed", StringComparison.Ordinal));
        if (gaveUp) Console.Error.WriteLine(said);
        return gaveUp;
    }

    /// <summary>It has noticed nothing, and every thread makes progress from now on.</summary>
    private static void CheckStatus(TargetProcess target)
    {
        AskStatus(target);   // the rounds are counted from here
        string answer;
        var clock = Stopwatch.StartNew();
        do
        {
            Assert.True(clock.Elapsed < Patience.Limit, "a thread stands still");
            // Longer and longer: each question starts the count anew.
            Thread.Sleep(TimeSpan.FromMilliseconds(50) + clock.Elapsed);
            answer = AskStatus(target);
        }
        while (int.Parse(answer.Split(' ')[2], CultureInfo.InvariantCulture) == 0);
    }

    private static string AskStatus(TargetProcess target)
    {
        var answer = target.Ask("status");
        Assert.StartsWith("ok rounds ", answer);
        return answer;
    }

    /// <summary>True if the slots hold code: the kill came during an injection.</summary>
    private static bool SlotsAreInUse(int pid)
    {
        using var memory = ProcessMemory.Open(pid);
        var area = SlotArea.Find(memory, out var whyNot);
        Assert.True(area is not null, whyNot);
        var content = new byte[SlotArea.Size];
        memory.Read(area.Start, content);
        return content.AsSpan().ContainsAnyExcept((byte)0);
    }

    // By the random addresses and bytes of its exec. A zombie has none any more.
    private static int Copies(int pid)
    {
        var mine = TaskFile.ReadBytes($"/proc/{pid}/auxv");
        return TaskFile.ListNumbers("/proc").Count(other => other != pid && Auxv(other) is { Length: > 0 } its && its.AsSpan().SequenceEqual(mine));

        static byte[] Auxv(int other)
        {
            try
            {
                return TaskFile.ReadBytes($"/proc/{other}/auxv");
            }
            catch (LinuxException)
            {
                return []; // gone
            }
        }
    }

    // .NET opens its libraries when they are first used, and a pipe for each thread that it starts (strace), one more to compile now and then. crstore makes no pipe in any target.
    private static (string Fds, int Mappings) Footprint(int pid, bool managed) =>
        (string.Join('\n', Directory.GetFileSystemEntries($"/proc/{pid}/fd").Order(StringComparer.Ordinal).Select(f => $"{f} {new FileInfo(f).LinkTarget}")
            .Where(f => !managed || !(f.EndsWith(".dll", StringComparison.Ordinal) || f.Contains(" pipe:", StringComparison.Ordinal)))), File.ReadAllLines($"/proc/{pid}/maps").Length);
}
