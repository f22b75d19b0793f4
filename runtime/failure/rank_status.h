// What each rank does at this moment, in a small mapped file of the run folder: what is still readable of a rank
// that was killed, and of one that waits for ever.
//
// The writer's setters take no lock and make no system call; a crash loses nothing, because the pages belong to the
// kernel. Readers are other processes of the host; through a network file system they see old values.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "comm/world.h"
#include "runtime/failure/process_state.h"

namespace trine {

// A wait of one group: op `sequence` of that group, for rank `peer` of the job.
struct WaitStatus {
  Group group = Group::kWorld;
  std::string op;
  int64_t sequence = 0;
  int peer = -1;
  int64_t since_ns = 0;  // CLOCK_MONOTONIC
};

enum class RankEnd : int {
  kNone,      // runs, or was killed
  kFailed,    // by an error that it reports itself
  kSignaled,  // SIGTERM or SIGINT, from a launcher or a person
};

// A rank's file as read: a copy, taken while the rank goes on. Texts are cut to the space of their field.
struct RankStatus {
  int rank = 0;
  ProcessIdentity process;
  ProcessState state = ProcessState::kRunning;  // when read
  RankEnd end = RankEnd::kNone;
  int64_t step = 0;               // 0: none yet
  std::string action;             // of the schedule, as it prints: "2F0"
  int node = -1;                  // index in the stage graph
  std::string op;                 // of that node
  std::vector<WaitStatus> waits;  // at most one for each group

  bool lost() const { return state == ProcessState::kDead && end == RankEnd::kNone; }  // killed, or crashed
};

std::filesystem::path status_folder(const std::filesystem::path& run_folder);  // RUN/status

// The status of ranks 0 ... num_ranks - 1 in the order of ranks. Those without a file (not begun, or ended well),
// with a broken one, and with that of another `run` than the one asked for are left out.
std::vector<RankStatus> read_all_status(const std::filesystem::path& run_folder, int num_ranks,
                                        std::optional<uint64_t> run = std::nullopt);
std::optional<RankStatus> read_status(const std::filesystem::path& run_folder, int rank,
                                      std::optional<uint64_t> run = std::nullopt);

class StatusWriter {
 public:
  // Makes RUN/status/rank-0000, in place of an earlier run's. `run`: the number that all ranks of this start have
  // (RunLock), so that what a killed one left behind speaks of nobody. Rank 0 also removes the status of ranks that
  // there are no more. Nothing else in that folder is touched.
  // DataError, also where a file or link stands in the way.
  StatusWriter(const std::filesystem::path& run_folder, int rank, int num_ranks, uint64_t run = 0);
  // Removes the file, if it is still this one, or, if an exception is on its way out, marks it RankEnd::kFailed and
  // leaves it to the others.
  ~StatusWriter();
  StatusWriter(const StatusWriter&) = delete;
  StatusWriter& operator=(const StatusWriter&) = delete;

  // By one thread, the one that runs the schedule.
  void set_step(int64_t step);
  void set_action(std::string_view action);      // begins it, before its first node; 15 characters are kept
  void set_node(int node, std::string_view op);  // the first 23

  const std::filesystem::path& run_folder() const { return run_folder_; }
  int rank() const { return rank_; }
  int num_ranks() const { return num_ranks_; }
  uint64_t run() const { return run_; }

  // From now on waits of every group are written, each by the thread that waits.
  void observe(CommWorld& world);
  // The same for waits that no Communicator sees.
  WaitObserver& waits(Group group);

  void set_end(RankEnd end);  // by any thread

 private:
  struct Mapping;
  class WaitSlot;
  const std::filesystem::path run_folder_, path_;
  const int rank_, num_ranks_, exceptions_at_start_;
  const uint64_t run_;
  std::unique_ptr<Mapping> mapping_;
  std::array<std::unique_ptr<WaitSlot>, kGroups.size()> wait_slots_;
};

}  // namespace trine
