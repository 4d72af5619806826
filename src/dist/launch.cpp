#include "dist/launch.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

#include "base/threads.h"
#include "dist/collectives.h"

namespace tandem {
namespace {

// -1: not set, or no number.
int number(const char* variable) {
  const char* text = std::getenv(variable);
  if (!text) return -1;
  int value = -1;
  const char* end = text + std::strlen(text);
  auto [stop, error] = std::from_chars(text, end, value);
  return error == std::errc() && stop == end && value >= 0 ? value : -1;
}

// Containers of one machine may have names of their own: the boot is the same.
std::string machine_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(in, boot);
  return boot.empty() ? host.data() : boot;
}

cpu_set_t own_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
  return set;
}

}  // namespace

Launch launch() {
  struct Names {
    const char* rank;
    const char* size;
  };
  for (const Names& names : {Names{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, Names{"PMI_RANK", "PMI_SIZE"}}) {
    int rank = number(names.rank), size = number(names.size);
    if (size > 1 && rank >= 0 && rank < size) return {rank, size};
  }
  return {};
}

std::unique_ptr<Communicator> connect() {
  Launch started = launch();
  if (started.size == 1) return std::make_unique<Alone>();
  return connect_mpi(started);
}

MachineShare machine_share(Communicator& ranks) {
  cpu_set_t own = own_cores();
  std::string card(sizeof own, '\0');
  std::memcpy(card.data(), &own, sizeof own);
  card += machine_name();
  MachineShare share{.ranks = 0, .threads = 1};
  int sharers = 0;
  for (const std::string& other : all_gather(ranks, card)) {
    if (other.substr(sizeof own) != card.substr(sizeof own)) continue;
    ++share.ranks;
    cpu_set_t theirs, common;
    std::memcpy(&theirs, other.data(), sizeof theirs);
    CPU_AND(&common, &own, &theirs);
    if (CPU_COUNT(&common) > 0) ++sharers;
  }
  share.threads = std::max(1, available_cores() / std::max(1, sharers));
  return share;
}

}  // namespace tandem
