/* Preloaded into a program, makes each of its fsync and fdatasync 2 ms slower, as on cloud disks. */

#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>

static const struct timespec delay = {0, 2000000};

int fsync(int file) {
    nanosleep(&delay, NULL);
    return syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    nanosleep(&delay, NULL);
    return syscall(SYS_fdatasync, file);
}
