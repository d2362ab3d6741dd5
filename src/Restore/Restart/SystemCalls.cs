namespace Crstore.Restore.Restart;

/// <summary>System calls that a puppet makes: numbers of x86-64 (syscall_64.tbl) and constants of their man pages.</summary>
internal static class SystemCalls
{
#pragma warning disable CS1591 // the names are the documentation
    public const long Mmap = 9, Mprotect = 10, Munmap = 11, RtSigAction = 13, Mremap = 25, Madvise = 28,
        ExitGroup = 231, Chdir = 80, Umask = 95, SetPgid = 109, SetSid = 112, SigAltStack = 131, Personality = 135,
        SetPriority = 141, SchedSetAttr = 314, Mlock2 = 325, Mseal = 462, Prctl = 157, SetItimer = 38, SchedSetAffinity = 203,
        SetTidAddress = 218, SetRobustList = 273, Dup3 = 292, Prlimit64 = 302, Rseq = 334, Clone3 = 435, CloseRange = 436,
        SetGroups = 116, SetResUid = 117, SetResGid = 119, SetFsUid = 122, SetFsGid = 123, CapSet = 126, RtSigQueueInfo = 129, RtTgSigQueueInfo = 297,
        Membarrier = 324, Ioctl = 16, Close = 3, IoprioSet = 251, MlockAll = 151, ArchPrctl = 158, Wait4 = 61;

    // ioctl_tty(2): TIOCSCTTY, TIOCSPGRP
    public const int SetControllingTerminal = 0x540e, SetForegroundGroup = 0x5410;

    // mmap(2), mremap(2)
    public const int MapShared = 1, MapPrivate = 2, MapAnonymous = 0x20, MapGrowsDown = 0x100, MapNoReserve = 0x4000, MapFixedNoReplace = 0x100000;
    public const int RemapMayMove = 1, RemapFixed = 2;

    // clone(2)
    public const ulong CloneVm = 0x100, CloneFs = 0x200, CloneFiles = 0x400, CloneSigHand = 0x800, CloneParent = 0x8000, CloneThread = 0x10000,
        CloneSysVSem = 0x40000;

    // prctl(2)
    public const int PrSetPdeathsig = 1, PrSetName = 15, PrSetMm = 35, PrSetMmMap = 14, PrSetNoNewPrivs = 38, PrSetChildSubreaper = 36, PrSetDumpable = 4,
        PrCapAmbient = 47, PrCapAmbientRaise = 2, PrCapbsetDrop = 24, PrSetKeepCaps = 8, PrSetThpDisable = 41, PrSetSecurebits = 28,
        PrSetTsc = 26, PrSetTimerSlack = 29, PrMceKill = 33, PrSetSpeculationCtrl = 53, PrSetIoFlusher = 57, PrSetMdwe = 65, PrSetMemoryMerge = 67;

    // arch_prctl(2)
    public const int ArchSetCpuid = 0x1012;
#pragma warning restore CS1591
}
