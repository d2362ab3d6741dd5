using System.Globalization;

namespace Crstore.Bench;

/// <summary>
/// The .NET application of real.py: this program itself, called as "managed SEED BYTES": a dictionary of records made of words, numbers and
/// random ids. Says "ready"; each line on its input changes about a tenth: "changed".
/// </summary>
internal sealed class ManagedMemory(int seed, long bytes)
{
    private sealed record Customer(int Id, Guid Token, string Name, string[] Tags, string About)
    {
        public int Stock { get; set; }
    }

    private readonly Random _random = new(seed);
    private readonly List<string> _words = [];
    private readonly Dictionary<int, Customer> _customers = [];

    /// <summary>Until its input ends.</summary>
    public static int Serve(string[] arguments)
    {
        var memory = new ManagedMemory(int.Parse(arguments[0], CultureInfo.InvariantCulture), long.Parse(arguments[1], CultureInfo.InvariantCulture));
        memory.Fill();
        Console.WriteLine("ready");
        while (Console.In.ReadLine() is not null)
        {
            memory.Change();
            Console.WriteLine("changed");
        }

        return 0;
    }

    private void Fill()
    {
        for (var i = 0; i < 4000; i++) _words.Add(string.Concat(Enumerable.Range(0, _random.Next(2, 12)).Select(_ => "aeioulnrstdkmpgbhv"[_random.Next(18)])));
        for (var i = 0; i < bytes / 1000; i++) _customers[i] = Make(i);
        GC.Collect();
    }

    private void Change()
    {
        var start = _random.Next(_customers.Count);
        for (var i = 0; i < _customers.Count / 12; i++)
        {
            var id = (start + i) % _customers.Count;
            _customers[id] = Make(id);
        }

        for (var i = 0; i < _customers.Count / 500; i++) _customers[_random.Next(_customers.Count)].Stock++;
    }

    private Customer Make(int id)
    {
        var token = new byte[16];
        _random.NextBytes(token);
        return new Customer(id, new Guid(token), Text(2), [.. Text(4).Split(' ')], Text(_random.Next(20, 80))) { Stock = _random.Next(1000000) };
    }

    private string Text(int words) => string.Join(' ', Enumerable.Range(0, words).Select(_ => _words[_random.Next(_words.Count)]));
}
