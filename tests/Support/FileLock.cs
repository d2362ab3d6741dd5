namespace Crstore.Tests.Support;

/// <summary>A lock between processes.</summary>
public static class FileLock
{
    /// <summary>Waits for the lock on a file that is made if need be; disposing releases it.</summary>
    public static IDisposable Take(string path, TimeSpan timeout)
    {
        for (var deadline = DateTime.UtcNow + timeout; ;)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (DateTime.UtcNow < deadline)
            {
                Thread.Sleep(50);
            }
        }
    }
}
