using System.Globalization;
using Crstore.Model;
using Crstore.Store;
using Crstore.Tests.Crash.Driver;

// StoreDriver STORE ORACLE-DIR NUMBER SEED OPERATIONS [SCRIPT]
// Does random captures, forgets, reads and gcs on a store, writing into its oracle file what it means to do and what it
// was told. SCRIPT, letters out of c (capture), b (big capture), k (several with the store kept open), l (two lazy ones), m (one that is kept in memory), a (what is in memory is committed or discarded), f, x (all are forgotten, and gc), g, z (gc --recompress), d (what makes a dictionary, and z), r, replaces chance. Exits with 3 if a read is wrong.
var (directory, oracleDirectory) = (args[0], args[1]);
var (number, seed, operations) = (args[2], int.Parse(args[3], CultureInfo.InvariantCulture), int.Parse(args[4], CultureInfo.InvariantCulture));
var script = args.Length > 5 ? args[5] : null;

// Never outlives the test: its end closes our stdin.
new Thread(() =>
{
    while (Console.In.Read() >= 0) continue;
    Environment.Exit(9);
}) { IsBackground = true }.Start();

var random = new Random(seed);
Console.WriteLine("started");
try
{
    using var session = new DriverSession(directory, oracleDirectory, number, random);
    for (var i = 0; i < (script?.Length ?? operations); i++)
    {
        var wrong = session.Step(script?[i] ?? (i == 0 ? 'c' : Choose(random.Next(100))));
        if (i == 0) Console.WriteLine("warm"); // compiled, and on the way
        if (wrong is null) continue;
        Console.Error.WriteLine(wrong);
        return 3;
    }
}
catch (CrstoreException e)
{
    Console.Error.WriteLine(e);
    return 4;
}

return 0;

static char Choose(int percent) => percent switch { < 34 => 'c', < 41 => 'k', < 45 => 'l', < 48 => 'm', < 53 => 'a', < 56 => 'b', < 70 => 'f', < 83 => 'g', < 86 => 'z', < 88 => 'd', _ => 'r' };
