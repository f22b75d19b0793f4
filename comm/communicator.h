// A group of ranks that talk: what one lane of the executor sees of the network.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/collective_pattern.h"
#include "base/dtype.h"
#include "comm/reduce.h"
#include "comm/transport.h"

namespace trine {

class Communicator;

// While one lives, this thread may not talk: any collective or message is a CheckError. For what some ranks alone
// may fail in, so that none of them is missed in the middle of it (runtime/job/agreement.h).
class Silence {
 public:
  Silence();
  ~Silence();
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

  // To be asked by whatever talks to other ranks.
  static void check(std::string_view op, std::string_view group);
};

// A message started by isend or irecv. Its buffer must outlive it, and the communicator too.
class Request {
 public:
  Request() = default;
  // True once complete, and of a request without a message. PeerLostError.
  bool test();
  void wait();  // HangError after the communicator's timeout, PeerLostError

 private:
  friend class Communicator;
  struct Purpose {  // what an error says
    const char* op;
    int64_t sequence;
    int peer;  // in the group
  };
  Request(const Communicator& communicator, std::unique_ptr<Message> message, Purpose purpose)
      : communicator_(&communicator), message_(std::move(message)), purpose_(purpose) {}

  const Communicator* communicator_ = nullptr;
  std::unique_ptr<Message> message_;
  Purpose purpose_{};
};

// Told what a rank waits for, by the thread that waits: for messages about failures
// (runtime/failure/rank_status.h). Not called for what is complete at once, and after an error the wait does not
// end. Must be quick and not throw.
class WaitObserver {
 public:
  virtual ~WaitObserver() = default;
  // `peer`: a rank of the job; `sequence` counts the collectives of the group,
  // or its messages if op is send or recv.
  virtual void wait_begins(std::string_view op, int64_t sequence, int peer) = 0;
  virtual void wait_ends() = 0;
};

// Blocking calls, made by one thread at a time; every rank of the group makes the same collectives in the same
// order. Buffers are raw: `count` elements of `dtype`. A shard is split_size(count, size(), rank()) elements
// (base/shape.h): ceil(count / size()), the last ones shorter, or empty when there are fewer elements than ranks.
//
// Reductions give the bits of reduce.h over the group's ranks in order, on every rank and every backend: each
// shard's owner receives the other contributions, adds them and rounds once; all_reduce is reduce_scatter and
// all_gather. Which messages that are: base/collective_pattern.h.
//
// Every wait throws HangError after `timeout`, naming the op, the group, the sequence number and the rank waited
// for, and PeerLostError if that rank has ended. After either, the group is of no more use.
class Communicator {
 public:
  static constexpr int kMaxTag = Transport::kMaxTag - 1;  // the last one belongs to the collectives

  // `ranks`: the group's members as ranks of the job, increasing;
  // `rank`: this one's place among them; timeout 0: none.
  Communicator(std::string name, std::vector<int> ranks, int rank, std::unique_ptr<Transport> transport,
               std::chrono::milliseconds timeout);

  const std::string& name() const { return name_; }
  int rank() const { return rank_; }
  int size() const { return static_cast<int>(ranks_.size()); }
  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  // Where links are slow on purpose: a wait's timeout counts from the time (now_ns()) that this returns, if that is
  // after it began. Empty: from its begin.
  void wait_on_while(std::function<int64_t()> last_progress_ns) { last_progress_ns_ = std::move(last_progress_ns); }
  void observe(WaitObserver* observer) { observer_ = observer; }  // nullptr: none. It must outlive the waits.

  // data[count] of every rank becomes the sum or maximum over the ranks.
  void all_reduce(void* data, int64_t count, DType dtype, ReduceOp op = ReduceOp::kSum);
  // The sum of f32 over the ranks, with bf16 on the wire: what each rank gives is rounded, added in f32, and the
  // sum rounded again. reduce_scatter_bf16 gives the shard of the same sum.
  void all_reduce_bf16(float* data, int64_t count);
  void reduce_scatter_bf16(const float* input, float* shard, int64_t count);
  // input[count, unit] -> this rank's shard of the sum: a share of `count`, of `unit` elements each. `shard` may be
  // its own place in `input`.
  void reduce_scatter(const void* input, void* shard, int64_t count, DType dtype, ReduceOp op = ReduceOp::kSum,
                      int64_t unit = 1);
  // The shards in rank order -> output[count, unit]. `shard` may be its own place in `output`.
  void all_gather(const void* shard, void* output, int64_t count, DType dtype, int64_t unit = 1);
  void broadcast(void* data, int64_t count, DType dtype, int root);
  // data[count] of every rank -> output[size, count] on `root`; `output` is not used elsewhere.
  void gather(const void* data, void* output, int64_t count, DType dtype, int root);
  // Returns when all ranks have entered.
  void barrier();

  // 0 <= tag <= kMaxTag. Messages of the same ends and tag arrive in order.
  void send(const void* data, int64_t count, DType dtype, int peer, int tag);
  void recv(void* data, int64_t count, DType dtype, int peer, int tag);
  [[nodiscard]] Request isend(const void* data, int64_t count, DType dtype, int peer, int tag);
  [[nodiscard]] Request irecv(void* data, int64_t count, DType dtype, int peer, int tag);

  // Collectives begun so far (the same on all ranks), and the bytes that this rank has handed over to others.
  int64_t sequence() const { return sequence_; }
  int64_t bytes_sent() const { return bytes_sent_; }

 private:
  friend class Request;

  void begin_collective(const char* op);

  Request post_send(const void* data, int64_t bytes, int peer, int tag, const char* op);
  Request post_receive(void* data, int64_t bytes, int peer, int tag, const char* op);
  void reduce_piece_bf16(const CollectivePiece& piece, const float* input, BFloat16* sum, const char* name);
  void reduce_piece(const CollectivePiece& piece, const std::byte* input, std::byte* output, DType dtype,
                    int64_t unit, ReduceOp op, const char* name);
  void gather_piece(const CollectivePiece& piece, const std::byte* shard, std::byte* output, int64_t element,
                    const char* name);
  void wait(Message& message, const Request::Purpose& purpose) const;
  bool wait_until(Message& message, const Request::Purpose& purpose, Deadline deadline) const;
  bool observed_wait(Message& message, const Request::Purpose& purpose, Deadline deadline) const;
  std::string where(const Request::Purpose& purpose) const;

  std::string name_;
  std::vector<int> ranks_;
  int rank_;
  std::unique_ptr<Transport> transport_;
  std::chrono::milliseconds timeout_;
  WaitObserver* observer_ = nullptr;
  std::function<int64_t()> last_progress_ns_;
  int64_t sequence_ = 0, messages_ = 0, bytes_sent_ = 0;
  std::vector<std::byte> scratch_;  // the contributions of the others
};

}  // namespace trine
