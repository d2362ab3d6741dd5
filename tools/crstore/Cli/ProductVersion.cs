using System.Reflection;

namespace Crstore.Cli;

/// <summary>The program's version.</summary>
internal static class ProductVersion
{
    /// <summary>As in Directory.Build.props, without the build's suffix.</summary>
    public static string Text { get; } =
        (typeof(ProductVersion).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown").Split('+')[0];
}
