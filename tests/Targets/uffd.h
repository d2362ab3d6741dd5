// A userfaultfd of the program's own, with asynchronous write protection over a range (Linux 6.7, userfaultfd(2), ioctl_userfaultfd(2)).
#ifndef UFFD_H
#define UFFD_H
#include "target.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#define FEATURE_WP_UNPOPULATED (1 << 13)
#define FEATURE_WP_ASYNC (1 << 15)

// The fd, or -1: the kernel has it not.
static inline int uffd_open(void)
{
    int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM
        | FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC };
    if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline void uffd_arm(int fd, void *start, uint64_t bytes)
{
    struct uffdio_register area = { .range = { (uintptr_t)start, bytes }, .mode = UFFDIO_REGISTER_MODE_WP };
    struct uffdio_writeprotect protect = { .range = { (uintptr_t)start, bytes }, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
    if (ioctl(fd, UFFDIO_REGISTER, &area) || ioctl(fd, UFFDIO_WRITEPROTECT, &protect))
        DIE("userfaultfd");
}
#endif
