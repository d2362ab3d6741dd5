using System.Globalization;
using Crstore.Tests.Support;

namespace Crstore.Tests.Differential;

/// <summary>Random commands to tests/Targets/memory_traps, with a model of which areas there are.</summary>
internal sealed class AreaWorkload(TargetProcess target, Random random)
{
    private readonly Dictionary<char, Area> _areas = [];
    private int _heapPages;
    private int _children;

    /// <summary>What was sent and answered: printed when a check fails.</summary>
    public List<string> History { get; } = [];

    public void Step()
    {
        var command = Next();
        if (command is not null) Send(command);
    }

    private void Send(string command)
    {
        var answer = target.Ask(command);
        History.Add($"{command} -> {answer}");
        if (answer == "unknown") throw new InvalidOperationException($"the target does not know: {command}");
    }

    /// <summary>Writes all of most areas, as a program does that computes all the time.</summary>
    public void WriteEverywhere()
    {
        foreach (var (name, area) in _areas)
            if (random.Next(5) > 0) Send($"fill {name} 0 {area.Pages}");
    }

    private string? Next()
    {
        if (_areas.Count < 4) return Map();
        var name = _areas.Keys.ElementAt(random.Next(_areas.Count));
        var area = _areas[name];
        var first = random.Next(area.Pages);
        var count = 1 + random.Next(Math.Min(area.Pages - first, random.Next(4) == 0 ? area.Pages : 20));
        switch (random.Next(20))
        {
            case 0: return Map();
            case 1:
                _areas.Remove(name);
                return $"unmap {name}";
            case 2: return $"discard {name} {first} {count}";
            case 3: return area.Shared ? $"child-write {name} {first} {count}" : $"over {name} {first} {count}";
            case 4: return $"read {name} {first} {count}";
            case 5: return $"zero {name} {first} {count}";
            case 6:
                // A protected area would stop the target's own writes: protect and allow again right away.
                target.Ask($"protect {name} {first} {count} {(random.Next(2) == 0 ? "r" : "none")}");
                return $"protect {name} {first} {count} rw";
            case 7: return $"kernel-read {name} {first}";
            case 8: return Heap();
            case 9: return $"stack {1 + random.Next(100)}";
            case 10: return _children++ < 2 ? "fork" : null;
            case 11: return Move(name, area);
            case 12: return area.Memfd ? $"pwrite {name} {first} {count}" : null;
            default: return $"fill {name} {first} {count}";
        }
    }

    private string? Map()
    {
        var free = "abcdefghijkl".Where(c => !_areas.ContainsKey(c)).ToArray();
        if (free.Length == 0) return null;
        var name = free[random.Next(free.Length)];
        var kind = new[] { "", "", "", "thp", "shared", "memfd" }[random.Next(6)];
        // Some are a multiple of what a page table covers: those the kernel moves as a whole.
        var pages = kind == "thp" ? 1536 : random.Next(3) == 0 ? 1024 : 20 + random.Next(600);
        _areas[name] = new Area(pages, kind is "shared" or "memfd", kind == "memfd", kind is "" or "thp");
        return string.Create(CultureInfo.InvariantCulture, $"map {name} {pages} {kind}");
    }

    // mremap needs an area that still is one mapping: "over" and "protect" split them, so only fresh ones are moved.
    private string? Move(char name, Area area)
    {
        if (!area.Movable || History.Exists(h => (h.StartsWith($"over {name}", StringComparison.Ordinal)
            || h.StartsWith($"protect {name}", StringComparison.Ordinal) || h.StartsWith($"move {name}", StringComparison.Ordinal)
            || h.StartsWith("swap ", StringComparison.Ordinal)))) return null;
        var other = _areas.FirstOrDefault(a => a.Key != name && a.Value.Movable && a.Value.Pages == area.Pages).Key;
        if (other == 0) return $"move {name}";
        _areas.Remove(name);
        return $"swap {name} {other}";
    }

    private string Heap()
    {
        if (_heapPages > 60)
        {
            var less = random.Next(_heapPages);
            _heapPages -= less;
            return $"brk -{less}";
        }

        var more = 10 + random.Next(100);
        _heapPages += more;
        return $"brk {more}";
    }

    private sealed record Area(int Pages, bool Shared, bool Memfd, bool Movable);
}
