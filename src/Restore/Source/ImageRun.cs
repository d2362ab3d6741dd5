using Crstore.Model;

namespace Crstore.Restore;

/// <summary>Where the content of a page of a process comes from.</summary>
public enum ImageContent
{
    /// <summary>All zero, or never touched: a hole in the output.</summary>
    Zero,

    /// <summary>The store.</summary>
    Saved,

    /// <summary>The mapped file, which is still the one that was captured.</summary>
    File,

    /// <summary>Nobody knows: excluded, never captured, or its file changed since.</summary>
    Missing,
}

/// <summary>A run of pages whose content comes from one place.</summary>
public readonly record struct ImageRun(PageRange Range, ImageContent Content);
