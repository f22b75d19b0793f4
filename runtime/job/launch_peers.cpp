#include "runtime/job/launch_peers.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <unistd.h>

#include "runtime/job/log.h"

namespace trine {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::duration<double> kLateness{60};  // that a rank may have without a visible reason
constexpr std::chrono::seconds kTurn{3};                // for the rank that reports to do so
constexpr std::chrono::seconds kEnd{10};                // for the launcher to end all, once one rank is gone

// The value of a variable in the environment of a process as it was started.
std::optional<std::string> value_in(const std::string& environment, const std::string& name) {
  const std::string wanted = name + "=";
  for (size_t begin = 0; begin < environment.size();) {
    const size_t end = std::min(environment.find('\0', begin), environment.size());
    if (environment.compare(begin, wanted.size(), wanted) == 0)
      return environment.substr(begin + wanted.size(), end - begin - wanted.size());
    begin = end + 1;
  }
  return std::nullopt;
}

std::string environment_of(const fs::path& process) {
  std::ifstream file(process / "environ", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<int> number(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

// What the processes of one start have in common, and of another not.
std::string start_of(const std::string& environment) {
  for (const char* name : {"PMIX_NAMESPACE", "PMI_PORT", "SLURM_STEP_ID"})
    if (const auto value = value_in(environment, name)) return *value;
  return {};
}

std::string who(const LaunchPeer& peer) {
  return fmt::format("rank {} (process {} on {})", peer.rank, peer.process.pid, peer.process.host);
}

std::string message_of_stopped(const LaunchPeer& peer, const std::string& what) {
  return fmt::format(
      "[hang] {} is stopped, and others wait for it ({}). It got SIGSTOP, or a debugger holds it. Start again; "
      "while you debug, raise --timeout.",
      who(peer), what);
}

const LaunchPeer* first_in(const std::vector<LaunchPeer>& peers, ProcessState state) {
  const auto found = std::ranges::find(peers, state, &LaunchPeer::state);
  return found == peers.end() ? nullptr : &*found;
}

// One rank of a host speaks; the others end once it has. Where one is gone already, it may have spoken: then its
// end is about to be the end of all.
void tell(const Launch& launch, const std::vector<LaunchPeer>& peers, const std::string& message) {
  const LaunchPeer* const speaker = first_in(peers, ProcessState::kRunning);
  const bool first = speaker == nullptr || speaker->rank >= launch.rank;
  if (std::ssize(peers) < launch.ranks_on_host)
    std::this_thread::sleep_for(kEnd);
  else if (!first)
    std::this_thread::sleep_for(kTurn);
  if (first) Log(launch.rank, true).fail(message);
}

}  // namespace

std::vector<LaunchPeer> launch_peers(const Launch& launch) {
  std::vector<LaunchPeer> peers;
  std::error_code error;
  const fs::path self = "/proc/self";
  const std::string own = environment_of(self);
  const fs::path program = fs::read_symlink(self / "exe", error);
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const auto pid = number(entry.path().filename().string());
    std::error_code unreadable;
    if (!pid || fs::read_symlink(entry.path() / "exe", unreadable) != program) continue;
    const std::string environment = environment_of(entry.path());
    const auto rank = number(value_in(environment, launch.rank_variable).value_or(""));
    if (!rank || start_of(environment) != start_of(own)) continue;
    const ProcessIdentity process = ProcessIdentity::of(*pid);
    peers.push_back({*rank, process, process_state(process)});
  }
  std::ranges::sort(peers, {}, [](const LaunchPeer& peer) { return std::pair(peer.rank, peer.process.pid); });
  return peers;
}

std::optional<ExitCode> judge_late_start(const Launch& launch, const std::string& what,
                                         std::chrono::duration<double> waited,
                                         std::chrono::duration<double> overdue) {
  const std::vector<LaunchPeer> peers = launch_peers(launch);
  const LaunchPeer* const stopped = first_in(peers, ProcessState::kStopped);
  if (stopped == nullptr && overdue < kLateness) return std::nullopt;
  if (stopped != nullptr) {
    tell(launch, peers, message_of_stopped(*stopped, what));
  } else {
    tell(launch, peers,
         fmt::format(
             "[hang] {} does not return after {:.0f} s, and no rank of this host ({} of {}) is stopped. Look "
             "at the other hosts and at the network between them, or raise --timeout.",
             what, waited.count(), peers.size(), launch.num_ranks));
  }
  return ExitCode::kHang;
}

ExitCode report_late_start(const Launch& launch, const Error& error) {
  const std::vector<LaunchPeer> peers = launch_peers(launch);
  const LaunchPeer* const stopped = first_in(peers, ProcessState::kStopped);
  tell(launch, peers, stopped != nullptr ? message_of_stopped(*stopped, error.what()) : std::string(error.what()));
  return stopped != nullptr ? ExitCode::kHang : error.code();
}

}  // namespace trine
