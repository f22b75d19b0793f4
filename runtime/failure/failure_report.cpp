#include "runtime/failure/failure_report.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <set>
#include <thread>
#include <unistd.h>

#include "base/clock.h"
#include "base/exit_code.h"
#include "runtime/job/log.h"

namespace trine {
namespace {

constexpr size_t kMostLines = 32;  // of ranks; what is left out is said
constexpr std::chrono::milliseconds kTurn{50};
constexpr int kMostTurns = 10;

const RankStatus* find(const std::vector<RankStatus>& ranks, int rank) {
  const auto found =
      std::find_if(ranks.begin(), ranks.end(), [&](const RankStatus& status) { return status.rank == rank; });
  return found == ranks.end() ? nullptr : &*found;
}

const WaitStatus* longest_wait(const RankStatus& status) {
  const auto longest =
      std::min_element(status.waits.begin(), status.waits.end(),
                       [](const WaitStatus& a, const WaitStatus& b) { return a.since_ns < b.since_ns; });
  return longest == status.waits.end() ? nullptr : &*longest;
}

std::string where(const RankStatus& status) {
  if (status.step == 0) return "before the first step";
  std::string text = fmt::format("in step {}", status.step);
  if (!status.action.empty()) text += fmt::format(", action {}", status.action);
  if (!status.op.empty()) text += fmt::format(", op {} (node {})", status.op, status.node);
  return text;
}

std::string doing(const RankStatus& status, int64_t now_ns) {
  if (status.state == ProcessState::kDead) return status.lost() ? "has died" : "has ended";
  std::string text = status.state == ProcessState::kStopped ? "is stopped" : "";
  for (const WaitStatus& wait : status.waits) {
    text += fmt::format("{}waits {:.1f} s for rank {} in {} {} of group {}", text.empty() ? "" : ", ",
                        static_cast<double>(now_ns - wait.since_ns) * 1e-9, wait.peer, wait.op, wait.sequence,
                        name(wait.group));
  }
  return text.empty() ? "busy" : text;
}

std::string who(const RankStatus& status) {
  return fmt::format("rank {} (process {} on {})", status.rank, status.process.pid, status.process.host);
}

Failure died(const RankStatus& status) {
  return {ExitCode::kPeerLost, status.rank,
          fmt::format("[peer lost] {} has died {}. It was killed or it crashed: if it says nothing itself, look "
                      "whether the kernel ran out of memory (dmesg). Then start again from the newest checkpoint.",
                      who(status), where(status))};
}

Failure stopped(const RankStatus& status) {
  return {ExitCode::kHang, status.rank,
          fmt::format("[hang] {} is stopped {}, and others wait for it. It got SIGSTOP, or a debugger holds it. "
                      "Start again from the newest checkpoint; while you debug, raise --timeout.",
                      who(status), where(status))};
}

Failure busy(const RankStatus& status) {
  return {ExitCode::kHang, status.rank,
          fmt::format("[hang] {} does not answer {}, and others wait for it. Raise --timeout if it is only slow; "
                      "otherwise let it hang again and look at what it does with gdb.",
                      who(status), where(status))};
}

// Nothing is known of it: it ended well, or its status was taken away.
Failure silent(int rank) {
  return {ExitCode::kHang, rank,
          fmt::format("[hang] rank {} does not answer, and others wait for it. It left no status to say why: it "
                      "ended, or somebody emptied the run folder's status/. Raise --timeout if it is only slow.",
                      rank)};
}

Failure ended(int rank) {
  return {ExitCode::kPeerLost, rank,
          fmt::format("[peer lost] rank {} has ended, and others wait for it. Its own message says why.", rank)};
}

Failure circle(const std::vector<int>& chain) {
  std::string text;
  for (const int rank : chain) text += fmt::format("{}{}", text.empty() ? "" : " -> ", rank);
  return {ExitCode::kHang, -1,
          fmt::format("[hang] ranks wait for each other: {}. If the network lost no message, this is a bug in "
                      "Trine: please report it with the lines below.",
                      text)};
}

Failure end_of_chain(const std::vector<RankStatus>& ranks, int reporter, bool timed_out) {
  std::vector<int> chain;
  std::set<int> seen;
  for (int rank = reporter;;) {
    chain.push_back(rank);
    if (!seen.insert(rank).second) {
      chain.erase(chain.begin(), std::find(chain.begin(), chain.end(), rank));
      return circle(chain);
    }
    const RankStatus* status = find(ranks, rank);
    if (status == nullptr) return timed_out ? silent(rank) : ended(rank);
    const WaitStatus* wait = longest_wait(*status);  // one that ran out of patience still has its wait
    if (wait == nullptr) return status->end == RankEnd::kNone ? busy(*status) : ended(rank);
    rank = wait->peer;
  }
}

Failure culprit(const std::vector<RankStatus>& ranks, int reporter, bool timed_out) {
  for (const RankEnd end : {RankEnd::kNone, RankEnd::kSignaled}) {
    for (const RankStatus& status : ranks) {
      if (status.state == ProcessState::kDead && status.end == end) return died(status);
    }
  }
  for (const RankStatus& status : ranks) {
    if (status.state == ProcessState::kStopped) return stopped(status);
  }
  return end_of_chain(ranks, reporter, timed_out);
}

// How many ranks of this host will report before this one does.
int lower_ranks_alive(const std::vector<RankStatus>& ranks, int rank) {
  return static_cast<int>(std::count_if(ranks.begin(), ranks.end(), [&](const RankStatus& status) {
    return status.rank < rank && status.state == ProcessState::kRunning && status.end == RankEnd::kNone;
  }));
}

constexpr std::string_view kClaim = ".reported-";

// A file of this start of the run that its reporter makes, and fills once it has printed.
std::filesystem::path claim_file(const StatusWriter& own) {
  return own.run_folder() / fmt::format("{}{:016x}", kClaim, own.run());
}

// Those of earlier starts.
void remove_old_claims(const StatusWriter& own) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(own.run_folder(), error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    if (name.starts_with(kClaim) && name.size() == kClaim.size() + 16 && it->path() != claim_file(own) &&
        name.find_first_not_of("0123456789abcdef", kClaim.size()) == name.npos)
      ::unlink(it->path().c_str());
  }
}

// The first rank of the run that asks gets a file to fill.
struct Claim {
  explicit Claim(const StatusWriter& own) {
    remove_old_claims(own);
    fd = ::open(claim_file(own).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    is_first = fd >= 0 || errno != EEXIST;  // twice is better than never
  }
  void fill() const {
    if (fd >= 0 && ::write(fd, "1", 1) == 1) ::close(fd);
  }
  int fd;
  bool is_first;
};

// The end of the first process may be the end of all: nobody goes before the message is out.
void wait_for_reporter(const StatusWriter& own) {
  std::error_code error;
  for (int turn = 0; turn < kMostTurns && std::filesystem::file_size(claim_file(own), error) == 0; ++turn)
    std::this_thread::sleep_for(kTurn);
}

Failure about_itself(const std::exception& error) { return {exit_code_of(error), -1, message_of(error)}; }

Failure about_peers(const StatusWriter& own, const Error* error) {
  const std::vector<RankStatus> ranks = read_all_status(own.run_folder(), own.num_ranks(), own.run());
  Failure failure = diagnose(ranks, own.rank(), error, now_ns());
  std::this_thread::sleep_for(kTurn * std::min(kMostTurns, lower_ranks_alive(ranks, own.rank())));
  return failure;
}

}  // namespace

Failure diagnose(const std::vector<RankStatus>& ranks, int reporter, const Error* error, int64_t now_ns) {
  const bool timed_out = error != nullptr && error->code() == ExitCode::kHang;
  Failure failure = culprit(ranks, reporter, timed_out);
  // Nothing to see here: the peer is on another host, or its connection broke.
  if (error != nullptr && error->code() == ExitCode::kPeerLost && failure.code == ExitCode::kHang)
    failure = {ExitCode::kPeerLost, -1, error->what()};
  for (size_t i = 0; i < ranks.size() && i < kMostLines; ++i) {
    failure.message += fmt::format("\n  rank {} {}: {}", ranks[i].rank, where(ranks[i]), doing(ranks[i], now_ns));
  }
  if (ranks.size() > kMostLines) failure.message += fmt::format("\n  and {} more", ranks.size() - kMostLines);
  return failure;
}

ExitCode report_failure(StatusWriter& own, const std::exception* error) {
  const Error* known = dynamic_cast<const Error*>(error);
  const bool peer =
      error == nullptr ||
      (known != nullptr && (known->code() == ExitCode::kHang || known->code() == ExitCode::kPeerLost));
  Failure failure = peer ? about_peers(own, known) : about_itself(*error);
  if (const Claim claim(own); claim.is_first) {
    Log log(own.rank(), true);
    log.open(own.run_folder() / "log.txt");
    log.fail(failure.message);
    claim.fill();
  } else {
    wait_for_reporter(own);
  }
  own.set_end(RankEnd::kFailed);
  return failure.code;
}

}  // namespace trine
