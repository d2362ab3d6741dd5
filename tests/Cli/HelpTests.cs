using System.Text.RegularExpressions;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>Help, version, man page, completion: true to the verbs there are.</summary>
public sealed partial class HelpTests
{
    private static readonly string[] AllVerbs =
        ["capture", "wait", "commit", "discard", "watch", "list", "series", "show", "stats", "restore", "restart", "check", "diff", "verify", "forget", "gc", "untrack", "doctor"];

    /// <summary>For theories.</summary>
    public static TheoryData<string> Verbs => [.. AllVerbs];

    [Fact]
    public void Help_lists_every_verb_and_every_exit_code()
    {
        var help = CrstoreProgram.Start("--help").MustSucceed();
        Assert.Equal("", help.Error);
        foreach (var verb in AllVerbs) Assert.Matches($@"(?m)^  {verb}\b", help.Output);
        foreach (var code in new[] { 0, 1, 2, 3, 4, 5, 6, 7, 8, 130 }) Assert.Matches($@"(?m)^ +{code}  \w", help.Output);
    }

    [Fact]
    public void The_help_lists_no_verb_that_is_not_tested_here()
    {
        var commands = CrstoreProgram.Start("--help").MustSucceed().Output.Split("Commands:")[1].Split("Use \"crstore")[0];
        var listed = CommandLine().Matches(commands).Select(match => match.Groups[1].Value).Order();
        Assert.Equal(AllVerbs.Order(), listed);
    }

    [Theory]
    [MemberData(nameof(Verbs))]
    public void Help_of_a_verb_has_examples_and_exit_codes(string verb)
    {
        var help = CrstoreProgram.Start(verb, "--help").MustSucceed().Output;
        Assert.Contains("Examples:\n", help);
        Assert.InRange(Regex.Count(Examples(verb), $@"(?m)^  crstore {verb}\b"), 1, 3);
        Assert.Contains("Exit codes:\n    0  done", help);
        Assert.Contains("  130  interrupted", help);
        Assert.Contains("--json", help);
    }

    [Theory]
    [MemberData(nameof(Verbs))]
    public void Every_example_of_the_help_parses(string verb)
    {
        // With an option nobody knows, the only complaint must be about that option: the rest of the line was understood.
        foreach (Match example in Regex.Matches(Examples(verb), $@"(?m)^  crstore ({verb}\b.*)$"))
        {
            var arguments = example.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var result = CrstoreProgram.Start([.. arguments, "--no-such-option"]);
            Assert.Equal($"crstore: there is no option '--no-such-option'\nhint: see `crstore {verb} --help`\n", result.Error);
        }
    }

    [Fact]
    public void Help_names_its_arguments_and_not_what_the_store_holds()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        store.Capture(target.Pid, "--series", "in-no-help");
        foreach (var verb in AllVerbs.Prepend(""))
        {
            string[] arguments = verb.Length > 0 ? [verb, "--help"] : ["--help"];
            Assert.Equal(CrstoreProgram.Start(arguments).MustSucceed().Output, store.Do(arguments) + "\n");
        }

        Assert.Contains("\n  <A>  CRID, or SERIES[@latest|@N|@TIME]\n  <B>  The other one\n", store.Do("diff", "--help"));
    }

    [Fact]
    public void Version_is_one_line_with_a_number()
    {
        var result = CrstoreProgram.Start("--version").MustSucceed();
        Assert.Matches(@"^\d+\.\d+\.\d+\S*\n$", result.Output);
    }

    [Fact]
    public void The_man_page_has_every_verb_and_every_option()
    {
        var page = CrstoreProgram.Start("man").MustSucceed().Output.Replace("\\-", "-");
        Assert.StartsWith(".TH \"CRSTORE\" \"1\"", page);
        foreach (var word in new[] { "pre-capture", "post-restart", "CRSTORE_CRID", "CRSTORE_PIDS", "CRSTORE_HOOKS_DIR" }) Assert.Contains(word, page);
        Assert.Single(Regex.Matches(page, @"(?m)^\\fBCRSTORE_HOOKS_DIR\\fR")); // two branches had both told of it
        foreach (var stage in new[] { "pre-capture", "post-restart", "CRSTORE_STAGE" }) Assert.Single(Regex.Matches(page, stage)); // nor what hooks are in two sections
        foreach (var verb in AllVerbs)
        {
            Assert.Contains($".SS \"crstore {verb}\"", page);
            foreach (Match option in Regex.Matches(CrstoreProgram.Start(verb, "--help").Output, @"(?m)^  (?:-\w, )?(--[a-z-]+)"))
                Assert.Contains(option.Groups[1].Value, page);
        }
    }

    [Fact]
    public void The_man_page_is_formatted_without_a_complaint()
    {
        Requires.Program("groff", "groff-base");
        var page = CrstoreProgram.Start("man").MustSucceed().Output;
        var formatted = Run.Command("groff", ["-man", "-Tascii", "-P-cbou", "-ww", "-"], input: page).MustSucceed();
        Assert.Equal("", formatted.Error);
        Assert.Contains("EXIT STATUS", formatted.Output);
    }

    [Fact]
    public void Completion_sourced_in_bash_gives_the_verbs()
    {
        Assert.Equal([.. AllVerbs.Order()], Complete("crstore ").Where(word => !word.StartsWith('-')).Order());
        Assert.Equal(["restart", "restore"], Complete("crstore res").Order());
    }

    [Fact]
    public void Completion_gives_options_and_their_values()
    {
        Assert.Contains("--keep-stopped", Complete("crstore capture --k"));
        Assert.Equal(["soft-dirty"], Complete("crstore capture 1 --tracker s"));
        Assert.Equal(["core", "raw"], Complete("crstore restore 1 --format ").Where(word => !word.StartsWith('-')).Order());
    }

    [Fact]
    public void Completion_gives_crids_and_series_of_the_store()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var crid = store.Capture(target.Pid, "--series", "night");
        Assert.Equal([crid, "night"], Complete("crstore show ", store.Path).Where(word => !word.StartsWith('-')).Order());
        Assert.Equal([crid], Complete("crstore forget ", store.Path).Where(word => !word.StartsWith('-')));
        Assert.Equal(["night"], Complete("crstore list --series n", store.Path));
    }

    [Fact]
    public void Completion_leaves_paths_to_bash() => Assert.Empty(Complete("crstore capture --pidfile "));

    private static string Examples(string verb) => CrstoreProgram.Start(verb, "--help").MustSucceed().Output.Split("Examples:")[1];

    private static string[] Complete(string line, string store = "/nonexistent")
    {
        var words = line.Split(' ');
        var script = $"""
            source '{Repository.Path("tools", "completion", "crstore.bash")}'
            PATH='{Path.GetDirectoryName(CrstoreProgram.Path)}':$PATH
            COMP_WORDS=({string.Join(' ', words.Select(word => $"'{word}'"))}) COMP_CWORD={words.Length - 1}
            COMP_LINE='{line}' COMP_POINT={line.Length}
            _crstore
            [ ${"{#COMPREPLY[@]}"} = 0 ] || printf '%s\n' "${"{COMPREPLY[@]}"}"
            """;
        var environment = CrstoreProgram.Clean;
        environment["CRSTORE_STORE"] = store;
        var result = Run.Command("bash", ["--norc", "-c", script], environment: environment).MustSucceed();
        Assert.Equal("", result.Error);
        return result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    [GeneratedRegex(@"(?m)^  ([a-z]+)\b")]
    private static partial Regex CommandLine();
}
