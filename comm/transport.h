// What a backend brings: point-to-point messages within a group of ranks. Collectives, sums, timeouts and counting
// are written once above it (communicator.h), so every backend gives the same bits.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

namespace trine {

using Deadline = std::optional<std::chrono::steady_clock::time_point>;  // none: wait for ever

// One message under way. Its buffer belongs to it until it is complete or destroyed; destroying an incomplete one
// withdraws it (after an error: the peer is not told).
class Message {
 public:
  virtual ~Message() = default;
  // True once complete. Both throw PeerLostError if the peer has ended.
  virtual bool test() = 0;
  // Blocks without burning the core; false if the deadline passed first.
  virtual bool wait(Deadline deadline) = 0;
};

// The messages of one group, for one thread at a time. `peer` counts within the group. Two messages between the
// same ranks with the same tag match in the order they were posted; both ends name the same number of bytes
// (CheckError). A send may wait for its receive: no buffering is promised.
class Transport {
 public:
  static constexpr int kMaxTag = 32767;  // what MPI promises at least

  virtual ~Transport() = default;
  virtual std::unique_ptr<Message> send(const void* data, size_t bytes, int peer, int tag) = 0;
  virtual std::unique_ptr<Message> receive(void* data, size_t bytes, int peer, int tag) = 0;
};

// All ranks of a job, as one of them sees them.
class Fabric {
 public:
  virtual ~Fabric() = default;
  virtual int rank() const = 0;
  virtual int num_ranks() const = 0;
  // A transport among `ranks` (increasing, with this one), apart from all others. Collective over *all* ranks of
  // the job: each calls it as often and in the same order, with groups that together hold every rank once.
  virtual std::unique_ptr<Transport> connect(const std::vector<int>& ranks) = 0;
  // To be called where an error is caught, before the stack unwinds: nobody shall wait for this rank any more, nor
  // its own threads for others. Does nothing where only the end of the process tells the others.
  virtual void give_up(std::exception_ptr) {}
};

}  // namespace trine
