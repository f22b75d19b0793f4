#include "runtime/failure/failure_watch.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/error.h"
#include "runtime/failure/failure_report.h"

namespace trine {
namespace {

constexpr int kLookEveryMs = 1000;
// How long after a peer was ended by a signal a launcher may take to send the same one here.
constexpr int kSignalsSpreadMs = 2000;
constexpr int kLookAfterSignalMs = 50, kLooksAfterSignal = 4;

// A handler can reach nothing but globals: the one that the process needs.
std::atomic<int> received_signal = 0, handler_wake_fd = -1;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may not lock");

extern "C" void wake_watch(int signal) {
  const int saved = errno;
  received_signal = signal;
  ::eventfd_write(handler_wake_fd, 1);
  errno = saved;
}

}  // namespace

FailureWatch::FailureWatch(StatusWriter& own, bool takes_signals)
    : own_(own), takes_signals_(takes_signals), wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  TRINE_CHECK(wake_fd_ >= 0, "eventfd: error {}", errno);
  TRINE_CHECK(handler_wake_fd.exchange(wake_fd_) == -1, "one watch per process");
  received_signal = 0;
  if (takes_signals_) {
    struct sigaction action {};
    action.sa_handler = wake_watch;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGTERM, &action, &previous_term_);
    ::sigaction(SIGINT, &action, &previous_int_);
  }
  watch_peers();
  thread_ = std::thread([this] { run(); });
}

FailureWatch::~FailureWatch() {
  stop_ = true;
  ::eventfd_write(wake_fd_, 1);
  thread_.join();
  if (takes_signals_) {
    ::sigaction(SIGTERM, &previous_term_, nullptr);
    ::sigaction(SIGINT, &previous_int_, nullptr);
  }
  handler_wake_fd = -1;
  ::close(wake_fd_);
  for (const auto& [rank, fd] : process_fds_) {
    if (fd >= 0) ::close(fd);
  }
}

void FailureWatch::watch_peers() {
  for (const RankStatus& peer : read_all_status(own_.run_folder(), own_.num_ranks(), own_.run())) {
    if (peer.process.pid == ::getpid() || peer.state == ProcessState::kElsewhere) continue;
    int& fd = process_fds_[peer.rank] = static_cast<int>(::syscall(SYS_pidfd_open, peer.process.pid, 0));
    if (fd < 0 || process_state(peer.process) != ProcessState::kDead) continue;
    ::close(std::exchange(fd, -1));  // it may be another process with the same id by now
  }
}

void FailureWatch::run() {
  while (!stop_) {
    std::vector<pollfd> fds = {{wake_fd_, POLLIN, 0}};
    std::vector<int> ranks, unwatched;
    for (const auto& [rank, fd] : process_fds_) {
      if (fd < 0) {
        unwatched.push_back(rank);
        continue;
      }
      fds.push_back({fd, POLLIN, 0});
      ranks.push_back(rank);
    }
    ::poll(fds.data(), fds.size(), unwatched.empty() ? -1 : kLookEveryMs);
    eventfd_t ignored;
    ::eventfd_read(wake_fd_, &ignored);
    if (const int signal = received_signal.exchange(0)) on_signal(signal);
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (fds[i + 1].revents != 0) look_at(ranks[i]);
    }
    for (const int rank : unwatched) look_at(rank);
  }
}

// This rank's process may have ended.
void FailureWatch::look_at(int rank) {
  const std::optional<RankStatus> peer = read_status(own_.run_folder(), rank, own_.run());
  if (peer && peer->state != ProcessState::kDead) return;
  if (peer && peer->end == RankEnd::kSignaled && !any_lost()) {
    pollfd wake{wake_fd_, POLLIN, 0};
    ::poll(&wake, 1, kSignalsSpreadMs);
    if (const int signal = received_signal.exchange(0)) on_signal(signal);
  }
  if (peer && !stop_) {
    if (peer->end != RankEnd::kFailed) report_and_exit();
    own_.set_end(RankEnd::kFailed);
    ::_exit(static_cast<int>(ExitCode::kPeerLost));
  }
  const auto found = process_fds_.find(rank);  // it ended well
  if (found->second >= 0) ::close(found->second);
  process_fds_.erase(found);
}

// A launcher may know of a death by a closed socket, shortly before the process counts as dead.
void FailureWatch::on_signal(int signal) {
  for (int look = 0; look < kLooksAfterSignal; ++look) {
    if (any_lost()) report_and_exit();
    std::this_thread::sleep_for(std::chrono::milliseconds(kLookAfterSignalMs));
  }
  own_.set_end(RankEnd::kSignaled);
  ::signal(signal, SIG_DFL);
  ::kill(::getpid(), signal);
  while (true) ::pause();
}

bool FailureWatch::any_lost() const {
  const std::vector<RankStatus> ranks = read_all_status(own_.run_folder(), own_.num_ranks(), own_.run());
  return std::any_of(ranks.begin(), ranks.end(), [](const RankStatus& rank) { return rank.lost(); });
}

void FailureWatch::report_and_exit() { ::_exit(static_cast<int>(report_failure(own_, nullptr))); }

}  // namespace trine
