#include "train/fault_injection.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace tandem::test {
namespace {

template <class F>
F* original(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

std::string path_of(int fd) {
  char target[4096];
  std::string link = "/proc/self/fd/" + std::to_string(fd);
  ssize_t n = ::readlink(link.c_str(), target, sizeof target);
  return n > 0 ? std::string(target, static_cast<size_t>(n)) : "";
}

std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

// What a loss of power would undo.
class Unflushed {
 public:
  void written(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return;
    // A descriptor of our own outlives the writer's, and the file's name. What was there before is on the disk.
    auto [file, added] = files_.try_emplace(info.st_ino);
    if (added) file->second = {.fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 100), .flushed = info.st_size};
  }
  void created(int fd) { written(fd); }
  void flushed(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return;
    if (S_ISDIR(info.st_mode)) {
      std::string folder = path_of(fd);
      std::erase_if(renames_, [&](const Rename& r) { return folder_of(r.to) == folder; });
    } else if (auto found = files_.find(info.st_ino); found != files_.end()) {
      found->second.flushed = info.st_size;
    }
  }
  // A name that replaces another is left alone: either file may be found there, and both were whole.
  void renamed(const char* from, const char* to, bool replaced) {
    if (!replaced) renames_.push_back({from, to});
  }
  void lose() {
    for (auto r = renames_.rbegin(); r != renames_.rend(); ++r) {
      original<int(const char*, const char*)>("rename")(r->to.c_str(), r->from.c_str());
    }
    for (auto& [inode, file] : files_) {
      if (::ftruncate(file.fd, file.flushed) != 0) continue;  // opened read-only: nothing of it can be lost
    }
  }
  void forget() {
    for (auto& [inode, file] : files_) ::close(file.fd);
    files_.clear();
    renames_.clear();
  }

 private:
  struct File {
    int fd = -1;
    off_t flushed = 0;
  };
  struct Rename {
    std::string from;
    std::string to;
  };
  std::map<ino_t, File> files_;
  std::vector<Rename> renames_;
};

// The functions below have no other way to learn what is wanted of them.
struct Injector {
  std::mutex mutex;
  std::atomic<bool> active{false};
  Fault fault = Fault::none;
  int64_t at = 0;
  int64_t calls = 0;
  Unflushed unflushed;
};
Injector& injector() {
  static Injector the_one;
  return the_one;
}

enum class Call { grows, changes, removes };
enum class Verdict { pass, half, fail };

[[noreturn]] void die(Injector& self) {
  if (self.fault == Fault::power_loss) self.unflushed.lose();
  ::_exit(kDied);
}

// With the mutex held. Sets errno for failures.
Verdict next(Injector& self, Call call) {
  int64_t now = self.calls++;
  switch (self.fault) {
    case Fault::none: return Verdict::pass;
    case Fault::die:
    case Fault::power_loss:
      if (now == self.at) die(self);
      return Verdict::pass;
    case Fault::die_inside:
      if (now == self.at) return Verdict::half;
      return Verdict::pass;
    case Fault::fail:
      if (now != self.at) return Verdict::pass;
      errno = EIO;
      return Verdict::fail;
    case Fault::disk_full:
      if (now < self.at || call != Call::grows) return Verdict::pass;
      if (now == self.at) return Verdict::half;
      errno = ENOSPC;
      return Verdict::fail;
  }
  return Verdict::pass;
}

// For calls that have no half: `fails` is what they return then.
template <class Do>
auto guarded(Call call, const Do& pass_on) -> decltype(pass_on()) {
  Injector& self = injector();
  if (!self.active) return pass_on();
  std::lock_guard lock(self.mutex);
  Verdict verdict = next(self, call);
  if (verdict == Verdict::half && self.fault == Fault::die_inside) die(self);
  if (verdict != Verdict::pass) {
    if (verdict == Verdict::half) errno = ENOSPC;
    return -1;
  }
  return pass_on();
}

template <class Write>
ssize_t guarded_write(int fd, size_t bytes, const Write& pass_on) {
  Injector& self = injector();
  if (!self.active || fd <= STDERR_FILENO) return pass_on(bytes);
  std::lock_guard lock(self.mutex);
  Verdict verdict = next(self, Call::grows);
  if (verdict == Verdict::fail) return -1;
  self.unflushed.written(fd);
  if (verdict == Verdict::pass) return pass_on(bytes);
  ssize_t done = bytes > 1 ? pass_on(bytes / 2) : 0;
  if (self.fault == Fault::die_inside) die(self);
  if (done > 0) return done;
  errno = ENOSPC;
  return -1;
}

}  // namespace

FaultInjection::FaultInjection(Fault fault, int64_t at) {
  Injector& self = injector();
  self.fault = fault;
  self.at = at;
  self.calls = 0;
  self.unflushed.forget();
  self.active = true;
}

FaultInjection::~FaultInjection() {
  injector().active = false;
  injector().unflushed.forget();
}

int64_t FaultInjection::calls() const { return injector().calls; }

int64_t count_calls(const std::function<void()>& job) {
  FaultInjection injection(Fault::none, 0);
  job();
  return injection.calls();
}

bool dies_in_child(Fault fault, int64_t at, const std::function<void()>& job) {
  pid_t child = ::fork();
  if (child == 0) {
    try {
      FaultInjection injection(fault, at);
      job();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  bool died = WIFEXITED(status) && WEXITSTATUS(status) == kDied;
  bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  EXPECT_TRUE(died || ended) << "call " << at << ": status " << status;
  return died;
}

}  // namespace tandem::test

using namespace tandem::test;

// In front of the C library's functions of the same names.
extern "C" {

ssize_t write(int fd, const void* data, size_t bytes) {
  static auto* real = original<ssize_t(int, const void*, size_t)>("write");
  return guarded_write(fd, bytes, [&](size_t n) { return real(fd, data, n); });
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  static auto* real = original<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return guarded_write(fd, bytes, [&](size_t n) { return real(fd, data, n, offset); });
}

int fsync(int fd) {
  return guarded(Call::changes, [&] {
    if (injector().active) {
      injector().unflushed.flushed(fd);
      return 0;
    }
    return original<int(int)>("fsync")(fd);
  });
}

int rename(const char* from, const char* to) noexcept {
  static auto* real = original<int(const char*, const char*)>("rename");
  return guarded(Call::changes, [&] {
    bool replaced = ::access(to, F_OK) == 0;
    int result = real(from, to);
    if (result == 0 && injector().active) injector().unflushed.renamed(from, to, replaced);
    return result;
  });
}

int mkdir(const char* path, mode_t mode) noexcept {
  static auto* real = original<int(const char*, mode_t)>("mkdir");
  return guarded(Call::grows, [&] { return real(path, mode); });
}

int unlink(const char* path) noexcept {
  static auto* real = original<int(const char*)>("unlink");
  return guarded(Call::removes, [&] { return real(path); });
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  static auto* real = original<int(int, const char*, int)>("unlinkat");
  return guarded(Call::removes, [&] { return real(folder, path, flags); });
}

int remove(const char* path) noexcept {
  static auto* real = original<int(const char*)>("remove");
  return guarded(Call::removes, [&] { return real(path); });
}

int open(const char* path, int flags, ...) {
  static auto* real = original<int(const char*, int, ...)>("open");
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (!(flags & O_CREAT)) return real(path, flags, mode);
  return guarded(Call::grows, [&] {
    int fd = real(path, flags, mode);
    if (fd >= 0 && injector().active) injector().unflushed.created(fd);
    return fd;
  });
}

}  // extern "C"
