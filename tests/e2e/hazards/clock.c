// A wall clock that jumps, for one process and all that it has loaded (LD_PRELOAD). CLOCK_REALTIME is shifted by as many
// seconds as stand in the file $TIELINE_TEST_CLOCK, from one moment to the next; the monotonic clock is left alone, as it is
// when a person, NTP or a hypervisor sets the time.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
  const char *path = getenv("TIELINE_TEST_CLOCK");
  char text[32] = {0};
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return 0;
  ssize_t len = read(file, text, sizeof text - 1);
  close(file);
  return len > 0 ? strtol(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  int kept = errno, result = (int)syscall(SYS_clock_gettime, clock, at);
  if (result != 0) return result;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) at->tv_sec += shift();
  errno = kept;
  return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  *at = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return 0;
}

int timespec_get(struct timespec *at, int base) {
  return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, at) == 0 ? base : 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

static int is_before(const struct timespec *one, const struct timespec *other) {
  return one->tv_sec < other->tv_sec || (one->tv_sec == other->tv_sec && one->tv_nsec < other->tv_nsec);
}

// The kernel's clock does not jump, so that a wait until a time of day would not see it: it is waited in slices. Kafka's client
// waits by C11's function; by that of POSIX where it is built without.
static int waited(int (*wait)(void *, void *, const struct timespec *), int timed_out, void *cond, void *mutex,
                  const struct timespec *until) {
  for (;;) {
    struct timespec now, slice;
    clock_gettime(CLOCK_REALTIME, &now);
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &slice);
    long left = is_before(&now, until) ? (until->tv_sec - now.tv_sec) * 1000 + (until->tv_nsec - now.tv_nsec) / 1000000 : 0;
    long ms = left < 20 ? left : 20;
    slice.tv_nsec += ms * 1000000;
    slice.tv_sec += slice.tv_nsec / 1000000000;
    slice.tv_nsec %= 1000000000;
    int result = wait(cond, mutex, &slice);
    if (result != timed_out) return result;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!is_before(&now, until)) return timed_out;
  }
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
  static int (*wait)(void *, void *, const struct timespec *);
  if (!wait) *(void **)&wait = dlsym(RTLD_NEXT, "cnd_timedwait");
  return waited(wait, thrd_timedout, cond, mutex, until);
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
  static int (*wait)(void *, void *, const struct timespec *);
  if (!wait) *(void **)&wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  return waited(wait, ETIMEDOUT, cond, mutex, until);
}
