#include "comm/communicator.h"

#include <algorithm>
#include <cstring>
#include <fmt/core.h>

#include "base/error.h"
#include "base/shape.h"

namespace trine {
namespace {

constexpr int kCollectiveTag = Transport::kMaxTag;

// Of the thread, not of a communicator: a body that may fail on some ranks must leave all their groups alone.
thread_local int silences = 0;

std::byte* at(void* data, int64_t bytes) { return static_cast<std::byte*>(data) + bytes; }
const std::byte* at(const void* data, int64_t bytes) { return static_cast<const std::byte*>(data) + bytes; }

void wait_all(std::vector<Request>& requests) {
  for (Request& request : requests) request.wait();
}

}  // namespace

Silence::Silence() { ++silences; }
Silence::~Silence() { --silences; }

void Silence::check(std::string_view op, std::string_view group) {
  TRINE_CHECK(silences == 0, "{} of group {} where ranks may fail alone: talk before or after it", op, group);
}

bool Request::test() {
  if (message_ == nullptr) return true;
  try {
    if (!message_->test()) return false;
  } catch (const PeerLostError& error) {
    throw PeerLostError(fmt::format("[comm] {}: {}", communicator_->where(purpose_), error.what()));
  }
  message_.reset();
  return true;
}

void Request::wait() {
  if (message_ == nullptr) return;
  communicator_->wait(*message_, purpose_);
  message_.reset();
}

Communicator::Communicator(std::string name, std::vector<int> ranks, int rank, std::unique_ptr<Transport> transport,
                           std::chrono::milliseconds timeout)
    : name_(std::move(name)),
      ranks_(std::move(ranks)),
      rank_(rank),
      transport_(std::move(transport)),
      timeout_(timeout) {
  TRINE_CHECK(0 <= rank_ && rank_ < size(), "rank {} of {}", rank_, size());
}

void Communicator::begin_collective(const char* op) {
  Silence::check(op, name_);
  ++sequence_;
}

std::string Communicator::where(const Request::Purpose& purpose) const {
  return fmt::format("rank {} in {} {} of group {}, waiting for rank {}", ranks_[rank_], purpose.op,
                     purpose.sequence, name_, ranks_[purpose.peer]);
}

void Communicator::wait(Message& message, const Request::Purpose& purpose) const {
  Deadline deadline = timeout_.count() == 0 ? Deadline() : Deadline(std::chrono::steady_clock::now() + timeout_);
  while (true) {
    if (wait_until(message, purpose, deadline)) return;
    if (!last_progress_ns_) break;
    const std::chrono::steady_clock::time_point moved{std::chrono::nanoseconds(last_progress_ns_())};
    if (moved + timeout_ <= *deadline) break;
    deadline = moved + timeout_;
  }
  throw HangError(
      fmt::format("[comm] {}: no answer within {} s. Look at what that rank does, or raise --timeout if it "
                  "is only slow.",
                  where(purpose), static_cast<double>(timeout_.count()) / 1e3));
}

bool Communicator::wait_until(Message& message, const Request::Purpose& purpose, Deadline deadline) const {
  try {
    return observer_ == nullptr ? message.wait(deadline) : observed_wait(message, purpose, deadline);
  } catch (const PeerLostError& error) {
    throw PeerLostError(fmt::format("[comm] {}: {}", where(purpose), error.what()));
  }
}

bool Communicator::observed_wait(Message& message, const Request::Purpose& purpose, Deadline deadline) const {
  if (message.test()) return true;
  observer_->wait_begins(purpose.op, purpose.sequence, ranks_[purpose.peer]);
  const bool complete = message.wait(deadline);
  if (complete) observer_->wait_ends();
  return complete;
}

Request Communicator::post_send(const void* data, int64_t bytes, int peer, int tag, const char* op) {
  bytes_sent_ += bytes;
  const int64_t sequence = tag == kCollectiveTag ? sequence_ : ++messages_;
  return Request(*this, transport_->send(data, static_cast<size_t>(bytes), peer, tag), {op, sequence, peer});
}

Request Communicator::post_receive(void* data, int64_t bytes, int peer, int tag, const char* op) {
  const int64_t sequence = tag == kCollectiveTag ? sequence_ : ++messages_;
  return Request(*this, transport_->receive(data, static_cast<size_t>(bytes), peer, tag), {op, sequence, peer});
}

// This rank's stretch of the reduction of `input` -> output. Receives are waited for in rank order and all sends go
// straight to their owner, so that whoever waits names the rank that is late, not one that waits for it as well.
void Communicator::reduce_piece(const CollectivePiece& piece, const std::byte* input, std::byte* output,
                                DType dtype, int64_t unit, ReduceOp op, const char* op_name) {
  const auto element = static_cast<int64_t>(size_bytes(dtype)) * unit;
  const int64_t own_bytes = piece.size(rank_) * element;
  scratch_.resize(std::max(scratch_.size(), static_cast<size_t>(own_bytes * (size() - 1))));
  std::vector<const void*> contributions(size());
  std::vector<Request> receives, sends;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) {
      contributions[r] = input + piece.begin(r) * element;
      continue;
    }
    std::byte* slot = scratch_.data() + own_bytes * (r < rank_ ? r : r - 1);
    contributions[r] = slot;
    if (own_bytes > 0) receives.push_back(post_receive(slot, own_bytes, r, kCollectiveTag, op_name));
  }
  for (int i = 1; i < size(); ++i) {
    const int r = collective_send_peer(rank_, i, size());
    if (piece.size(r) == 0) continue;
    sends.push_back(
        post_send(input + piece.begin(r) * element, piece.size(r) * element, r, kCollectiveTag, op_name));
  }
  wait_all(receives);
  if (own_bytes > 0) reduce(op, dtype, contributions, output, piece.size(rank_) * unit);
  wait_all(sends);
}

// This rank's stretch at `shard` goes to all, everybody's to its place in `output`.
void Communicator::gather_piece(const CollectivePiece& piece, const std::byte* shard, std::byte* output,
                                int64_t element, const char* op_name) {
  std::vector<Request> receives, sends;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_ || piece.size(r) == 0) continue;
    std::byte* place = output + piece.begin(r) * element;
    receives.push_back(post_receive(place, piece.size(r) * element, r, kCollectiveTag, op_name));
  }
  const int64_t own_bytes = piece.size(rank_) * element;
  for (int i = 1; i < size() && own_bytes > 0; ++i) {
    sends.push_back(post_send(shard, own_bytes, collective_send_peer(rank_, i, size()), kCollectiveTag, op_name));
  }
  std::byte* own_place = output + piece.begin(rank_) * element;
  if (own_bytes > 0 && shard != own_place) std::memcpy(own_place, shard, static_cast<size_t>(own_bytes));
  wait_all(receives);
  wait_all(sends);
}

void Communicator::all_reduce(void* data, int64_t count, DType dtype, ReduceOp op) {
  begin_collective("all_reduce");
  if (size() == 1) return;
  const auto element = static_cast<int64_t>(size_bytes(dtype));
  for_each_collective_round(CollectivePattern::kAllReduce, count, size(), element,
                            [&](const CollectiveRound& round) {
                              std::byte* own = at(data, round.piece.begin(rank_) * element);
                              if (round.reduces)
                                return reduce_piece(round.piece, at(data, 0), own, dtype, 1, op, "all_reduce");
                              gather_piece(round.piece, own, at(data, 0), element, "all_reduce");
                            });
}

void Communicator::reduce_scatter(const void* input, void* shard, int64_t count, DType dtype, ReduceOp op,
                                  int64_t unit) {
  begin_collective("reduce_scatter");
  const auto element = static_cast<int64_t>(size_bytes(dtype)) * unit;
  for_each_collective_round(CollectivePattern::kReduceScatter, count, size(), element,
                            [&](const CollectiveRound& round) {
                              reduce_piece(round.piece, at(input, 0), at(shard, round.piece.offset * element),
                                           dtype, unit, op, "reduce_scatter");
                            });
}

// The rounded sum of this rank's stretch.
void Communicator::reduce_piece_bf16(const CollectivePiece& piece, const float* input, BFloat16* sum,
                                     const char* op_name) {
  constexpr int64_t kElement = sizeof(BFloat16);
  std::vector<std::vector<BFloat16>> sent(static_cast<size_t>(size()));
  for (int r = 0; r < size(); ++r) {
    sent[static_cast<size_t>(r)].resize(static_cast<size_t>(piece.size(r)));
    narrow(input + piece.begin(r), sent[static_cast<size_t>(r)]);
  }
  const int64_t own = piece.size(rank_);
  std::vector<BFloat16> received(static_cast<size_t>(own * size()));
  std::vector<const void*> contributions;
  std::vector<Request> receives, sends;
  for (int r = 0; r < size(); ++r) {
    BFloat16* slot = received.data() + own * r;
    contributions.push_back(r == rank_ ? sent[static_cast<size_t>(r)].data() : slot);
    if (r != rank_ && own > 0) receives.push_back(post_receive(slot, own * kElement, r, kCollectiveTag, op_name));
  }
  for (int i = 1; i < size(); ++i) {
    const int r = collective_send_peer(rank_, i, size());
    if (piece.size(r) > 0)
      sends.push_back(
          post_send(sent[static_cast<size_t>(r)].data(), piece.size(r) * kElement, r, kCollectiveTag, op_name));
  }
  wait_all(receives);
  if (own > 0) reduce(ReduceOp::kSum, DType::kBF16, contributions, sum, own);
  wait_all(sends);
}

void Communicator::all_reduce_bf16(float* data, int64_t count) {
  begin_collective("all_reduce");
  if (size() == 1) return;
  for_each_collective_piece(count, size(), sizeof(float), [&](const CollectivePiece& piece) {
    int64_t longest = 0;
    for (int r = 0; r < size(); ++r) longest = std::max(longest, piece.size(r));
    // The pieces of all ranks side by side, as a buffer of which each is a shard.
    std::vector<BFloat16> sums(static_cast<size_t>(longest * size()));
    BFloat16* own = sums.data() + longest * rank_;
    reduce_piece_bf16(piece, data, own, "all_reduce");
    const CollectivePiece whole{longest * size(), size(), 0, longest};
    gather_piece(whole, reinterpret_cast<std::byte*>(own), reinterpret_cast<std::byte*>(sums.data()),
                 sizeof(BFloat16), "all_reduce");
    for (int r = 0; r < size(); ++r)
      widen(std::span(sums).subspan(static_cast<size_t>(longest * r), static_cast<size_t>(piece.size(r))),
            data + piece.begin(r));
  });
}

void Communicator::reduce_scatter_bf16(const float* input, float* shard, int64_t count) {
  begin_collective("reduce_scatter");
  if (size() == 1) return;
  for_each_collective_piece(count, size(), sizeof(float), [&](const CollectivePiece& piece) {
    std::vector<BFloat16> sum(static_cast<size_t>(piece.size(rank_)));
    reduce_piece_bf16(piece, input, sum.data(), "reduce_scatter");
    widen(sum, shard + piece.offset);
  });
}

void Communicator::all_gather(const void* shard, void* output, int64_t count, DType dtype, int64_t unit) {
  begin_collective("all_gather");
  const int64_t element = static_cast<int64_t>(size_bytes(dtype)) * unit;
  for_each_collective_round(CollectivePattern::kAllGather, count, size(), element,
                            [&](const CollectiveRound& round) {
                              gather_piece(round.piece, at(shard, 0), at(output, 0), element, "all_gather");
                            });
}

void Communicator::broadcast(void* data, int64_t count, DType dtype, int root) {
  TRINE_CHECK(0 <= root && root < size(), "root {} of {}", root, size());
  begin_collective("broadcast");
  const int64_t bytes = count * static_cast<int64_t>(size_bytes(dtype));
  if (rank_ != root) return post_receive(data, bytes, root, kCollectiveTag, "broadcast").wait();
  std::vector<Request> sends;
  for (int r = 0; r < size(); ++r) {
    if (r != root) sends.push_back(post_send(data, bytes, r, kCollectiveTag, "broadcast"));
  }
  wait_all(sends);
}

void Communicator::gather(const void* data, void* output, int64_t count, DType dtype, int root) {
  TRINE_CHECK(0 <= root && root < size(), "root {} of {}", root, size());
  begin_collective("gather");
  const int64_t bytes = count * static_cast<int64_t>(size_bytes(dtype));
  if (rank_ != root) return post_send(data, bytes, root, kCollectiveTag, "gather").wait();
  std::vector<Request> receives;
  for (int r = 0; r < size(); ++r) {
    if (r != root) receives.push_back(post_receive(at(output, r * bytes), bytes, r, kCollectiveTag, "gather"));
  }
  if (bytes > 0) std::memmove(at(output, root * bytes), data, static_cast<size_t>(bytes));
  wait_all(receives);
}

// Everybody tells everybody: a tree would be cheaper, but whoever waits in it names a rank that waits itself.
void Communicator::barrier() {
  begin_collective("barrier");
  std::vector<Request> requests;
  for (int r = 0; r < size(); ++r) {
    if (r != rank_) requests.push_back(post_receive(nullptr, 0, r, kCollectiveTag, "barrier"));
  }
  for (int r = 0; r < size(); ++r) {
    if (r != rank_) requests.push_back(post_send(nullptr, 0, r, kCollectiveTag, "barrier"));
  }
  wait_all(requests);
}

void Communicator::send(const void* data, int64_t count, DType dtype, int peer, int tag) {
  isend(data, count, dtype, peer, tag).wait();
}

void Communicator::recv(void* data, int64_t count, DType dtype, int peer, int tag) {
  irecv(data, count, dtype, peer, tag).wait();
}

Request Communicator::isend(const void* data, int64_t count, DType dtype, int peer, int tag) {
  TRINE_CHECK(0 <= tag && tag <= kMaxTag && 0 <= peer && peer < size(), "tag {} to {} of {}", tag, peer, size());
  Silence::check("send", name_);
  return post_send(data, count * static_cast<int64_t>(size_bytes(dtype)), peer, tag, "send");
}

Request Communicator::irecv(void* data, int64_t count, DType dtype, int peer, int tag) {
  TRINE_CHECK(0 <= tag && tag <= kMaxTag && 0 <= peer && peer < size(), "tag {} from {} of {}", tag, peer, size());
  Silence::check("recv", name_);
  return post_receive(data, count * static_cast<int64_t>(size_bytes(dtype)), peer, tag, "recv");
}

}  // namespace trine
