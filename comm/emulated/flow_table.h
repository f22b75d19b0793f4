// Transfers of all ranks of a host over links that are not there, in real time: the ranks share a table of what is
// under way, and each transfer ends when the links' fair shares (base/link_model.h) say so.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/link_model.h"
#include "comm/communicator.h"

namespace trine {

// Zeroed memory that all ranks of `group` share, threads or processes of one host; it has no name once this has
// returned, so nothing is left of it when they end. Collective. DataError if the system refuses, ConfigError if
// they are not on one host.
std::shared_ptr<std::byte> share_memory(Communicator& group, size_t bytes);

// Which transfer: the same number at all its ranks, and never used before.
using TransferKey = uint64_t;

class FlowTable {
 public:
  static size_t num_bytes();

  // Views a table in shared memory: the first to do so makes it. `links` are the same for all.
  FlowTable(std::shared_ptr<std::byte> memory, LinkModel links);
  ~FlowTable();

  struct Transfer {
    TransferKey key = 0;
    int members = 1;                // ranks that take part
    int64_t begin_ns = 0;           // when the last of them is ready (now_ns()): all say the same
    double bytes = 0;               // that cross the links
    std::span<const LinkUse> uses;  // kMostUses at most
    int64_t latency_ns = 0;         // after the last byte
  };
  static constexpr size_t kMostUses = 1024;  // a ring of 400 devices without peer access

  // Returns when the transfer has ended, and that time. Every member calls it. While it waits, `check` is called
  // now and then and may throw, which gives the transfer up. HangError if a rank keeps the table for longer than
  // `timeout` (0: for ever).
  int64_t run(const Transfer& transfer, std::chrono::milliseconds timeout, const std::function<void()>& check);
  // When a transfer was under way last (now_ns()); 0: never. Exact to some 20 ms.
  int64_t last_progress_ns() const;
  size_t num_active(std::chrono::milliseconds timeout);  // transfers under way

 private:
  struct Slot;
  struct Table;

  void settle(int64_t until_ns);
  void share();
  double predicted_end_s(const Slot& slot) const;
  Slot& find_or_begin(const Transfer& transfer);

  std::shared_ptr<std::byte> memory_;
  const LinkModel links_;
  Table* table_;
};

}  // namespace trine
