using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>Wrong input: a sentence, a hint, the documented exit code, nothing touched.</summary>
public sealed class WrongUseTests
{
    [Theory]
    [InlineData("there is no verb 'lst'", "lst")]
    [InlineData("there is no option '--nonsense'", "list", "--nonsense")]
    [InlineData("there is no option '--read-dta'", "verify", "--read-dta")]
    [InlineData("'abc' is not a process id", "capture", "abc")]
    [InlineData("there is no option '-5'", "capture", "-5")]
    [InlineData("'0' is not a process id", "capture", "0")]
    [InlineData("soft-dirty", "capture", "1", "--tracker", "magic")]
    [InlineData("'5x' is not a time", "capture", "1", "--max-frozen", "5x")]
    [InlineData("--max-frozen", "capture", "self", "--max-frozen", "0")]
    [InlineData("--max-rounds", "capture", "self", "--max-rounds", "0")]
    [InlineData("--nice", "capture", "self", "--nice", "20")]
    [InlineData("'lots' is not a size", "capture", "1", "--buffer", "lots")]
    [InlineData("--buffer 4096 is too small", "capture", "self", "--buffer", "4096")]
    [InlineData("--compression 'zip'", "capture", "1", "--compression", "zip")]
    [InlineData("--compression 'zstd:99'", "capture", "1", "--compression", "zstd:99")]
    [InlineData("the end is not behind the start", "capture", "1", "--exclude", "0x2000-0x1000")]
    [InlineData("page size", "capture", "1", "--exclude", "0x1000+5")]
    [InlineData("in one way", "capture")]
    [InlineData("in one way", "capture", "1", "--name", "init")]
    [InlineData("--to", "restore", "5")]
    [InlineData("is not a CRID", "forget", "redis")]
    [InlineData("'0' is not a CRID", "forget", "0")]
    [InlineData("'abc' is not a number of checkpoints", "forget", "--series", "s", "--keep-last", "abc")]
    [InlineData("'-1' is not a number of checkpoints", "forget", "--series", "s", "--keep-last", "-1")]
    [InlineData("'200%' is not a share", "verify", "--read-data-subset", "200%")]
    [InlineData("argument", "diff", "1")]
    public void Wrong_options_are_told_with_exit_code_2(string words, params string[] arguments)
    {
        var pid = Environment.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture);
        using var store = new CliStore();
        var result = store.Run([.. arguments.Select(argument => argument == "self" ? pid : argument)]);
        Expect.Failure(result, ExitCode.Usage, words, "hint: ");
        Assert.False(Directory.Exists(store.Path));
    }

    [Fact]
    public void No_verb_at_all_is_wrong_use() => Expect.Failure(CrstoreProgram.Start(), ExitCode.Usage, "crstore --help");

    [Theory]
    [InlineData("list")]
    [InlineData("series")]
    [InlineData("stats")]
    [InlineData("show", "1")]
    [InlineData("verify", "--all")]
    [InlineData("gc")]
    [InlineData("forget", "1")]
    [InlineData("restore", "1", "--to", "/tmp/never-written")]
    public void A_store_that_is_not_there_is_wrong_use_and_is_not_created(params string[] arguments)
    {
        using var store = new CliStore();
        Expect.Failure(store.Run(arguments), ExitCode.Usage, store.Path);
        Assert.False(Directory.Exists(store.Path));
    }

    [Fact]
    public void An_empty_store_option_is_wrong_use() =>
        Expect.Failure(CrstoreProgram.Start("list", "--store", ""), ExitCode.Usage, "--store is empty");

    [Fact]
    public void A_full_disk_under_standard_output_is_an_error_and_not_silence()
    {
        var result = Run.Shell($"{CrstoreProgram.Path} --help > /dev/full");
        Expect.Failure(result, ExitCode.Environment, "No space left on device");
    }

    [Fact]
    public void A_reader_that_closes_the_pipe_is_no_error()
    {
        var result = Run.Shell($"{CrstoreProgram.Path} man | head -n 1");
        Assert.Equal("", result.Error);
    }
}
