// What every backend must do, checked by the threads of test_comm and by the processes of comm_mpi_program. A check
// that fails throws. The results are also kept, so that two backends can be compared bit for bit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/core.h>
#include <random>
#include <stdexcept>
#include <vector>

#include "base/error.h"
#include "base/shape.h"
#include "comm/communicator.h"

namespace trine {

using Bytes = std::vector<std::byte>;

// Element i of what rank `rank` contributes: magnitudes up to 2^-8 ... 2^7, so that another order of sums shows.
inline double element(int rank, int64_t i) {
  uint64_t x = (static_cast<uint64_t>(rank) << 32 | static_cast<uint64_t>(i)) + 0x9e3779b97f4a7c15;  // splitmix64
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  x ^= x >> 31;
  const double scale = static_cast<double>(1 << (x & 15)) * 0x1p-8;
  return (static_cast<double>(x >> 11) * 0x1p-52 - 1) * scale;
}

template <typename T>
T encode(double x) {
  if constexpr (std::is_same_v<T, int32_t> || std::is_same_v<T, int64_t>) {
    return static_cast<T>(x * (sizeof(T) == 8 ? 0x1p50 : 0x1p20));
  } else {
    return from_float<T>(static_cast<float>(x));
  }
}
template <typename T>
auto decode(T x) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<int64_t>(x);
  } else {
    return to_float(x);
  }
}

// All checks of one communicator with one element type.
template <typename T>
class CollectiveChecks {
 public:
  CollectiveChecks(Communicator& comm, Bytes& results)
      : comm_(comm), n_(comm.size()), rank_(comm.rank()), results_(results) {}

  void run() {
    const int64_t n = n_;
    const int64_t above_bucket = kCollectivePieceBytes / int64_t{sizeof(T)} + 13;
    for (const int64_t count :
         {int64_t{0}, int64_t{1}, n - 1, n, n + 1, int64_t{37}, int64_t{1001}, above_bucket}) {
      fill(count);
      reductions(ReduceOp::kSum);
      reductions(ReduceOp::kMax);
      moves();
    }
    // Rows that stay whole: counts that no number of ranks divides, fewer rows than ranks, more than a bucket.
    for (const auto& [rows, unit] : {std::pair<int64_t, int64_t>{0, 5},
                                     {1, 7},
                                     {n - 1, 3},
                                     {n + 1, 1},
                                     {2 * n + 1, 16},
                                     {7, 13},
                                     {37, above_bucket / 30}})
      units(rows, unit);
  }

 private:
  using Buffer = std::vector<T>;
  static constexpr DType kDType = kDTypeOf<T>;

  void fill(int64_t count) {
    count_ = count;
    inputs_.assign(n_, Buffer(count));
    for (int r = 0; r < n_; ++r) {
      for (int64_t i = 0; i < count; ++i) inputs_[r][i] = encode<T>(element(r, i));
    }
  }

  // In group-rank order, in f32 (integers in 64 bits), rounded once; and near the sum in f64.
  Buffer reference(ReduceOp op) const {
    Buffer y(count_);
    for (int64_t i = 0; i < count_; ++i) {
      auto acc = decode(inputs_[0][i]);
      double exact = static_cast<double>(acc), scale = std::abs(exact);
      for (int r = 1; r < n_; ++r) {
        const auto x = decode(inputs_[r][i]);
        acc = op == ReduceOp::kSum ? acc + x : std::max(acc, x);
        exact = op == ReduceOp::kSum ? exact + static_cast<double>(x) : std::max(exact, static_cast<double>(x));
        scale += std::abs(static_cast<double>(x));
      }
      if (std::abs(static_cast<double>(acc) - exact) > 1e-6 * scale) throw std::runtime_error("reference");
      if constexpr (std::is_integral_v<T>) {
        y[i] = static_cast<T>(acc);
      } else {
        y[i] = from_float<T>(acc);
      }
    }
    return y;
  }

  void expect(const char* what, const Buffer& got, const Buffer& want) {
    if (got.size() != want.size() ||
        (!got.empty() && std::memcmp(got.data(), want.data(), got.size() * sizeof(T)) != 0)) {
      throw std::runtime_error(fmt::format("{} of {} {} over {} ranks is wrong on rank {}", what, count_,
                                           trine::name(kDType), n_, rank_));
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(got.data());
    results_.insert(results_.end(), bytes, bytes + got.size() * sizeof(T));
  }

  Buffer shard_of(const Buffer& whole) const {
    const auto begin = whole.begin() + split_begin(count_, n_, rank_);
    return Buffer(begin, begin + split_size(count_, n_, rank_));
  }

  void reductions(ReduceOp op) {
    const Buffer want = reference(op);
    Buffer data = inputs_[rank_];
    const int64_t before = comm_.bytes_sent(), own = split_size(count_, n_, rank_);
    comm_.all_reduce(data.data(), count_, kDType, op);
    expect("all_reduce", data, want);
    const int64_t volume = (count_ - own + own * (n_ - 1)) * int64_t{sizeof(T)};
    if (comm_.bytes_sent() - before != volume) throw std::runtime_error("all_reduce counts its bytes wrong");

    Buffer shard(own);
    comm_.reduce_scatter(inputs_[rank_].data(), shard.data(), count_, kDType, op);
    expect("reduce_scatter", shard, shard_of(want));
    data = inputs_[rank_];
    comm_.reduce_scatter(data.data(), data.data() + split_begin(count_, n_, rank_), count_, kDType, op);
    expect("reduce_scatter in place", shard_of(data), shard_of(want));
  }

  // What the ranks have of [rows, unit]: whole rows.
  void units(int64_t rows, int64_t unit) {
    fill(rows * unit);
    const Buffer sum = reference(ReduceOp::kSum);
    const int64_t begin = split_begin(rows, n_, rank_) * unit, own = split_size(rows, n_, rank_) * unit;
    const auto part = [&](const Buffer& whole) {
      return Buffer(whole.begin() + begin, whole.begin() + begin + own);
    };
    Buffer shard(own), data = inputs_[rank_];
    int64_t before = comm_.bytes_sent();
    comm_.reduce_scatter(data.data(), shard.data(), rows, kDType, ReduceOp::kSum, unit);
    expect("reduce_scatter of rows", shard, part(sum));
    expect_sent("reduce_scatter of rows", before, count_ - own);
    comm_.reduce_scatter(data.data(), data.data() + begin, rows, kDType, ReduceOp::kSum, unit);
    expect("reduce_scatter of rows in place", part(data), part(sum));

    data.assign(count_, T{});
    before = comm_.bytes_sent();
    comm_.all_gather(shard.data(), data.data(), rows, kDType, unit);
    expect("all_gather of rows", data, sum);
    expect_sent("all_gather of rows", before, own * (n_ - 1));
    data.assign(count_, T{});
    std::copy(shard.begin(), shard.end(), data.begin() + begin);
    comm_.all_gather(data.data() + begin, data.data(), rows, kDType, unit);
    expect("all_gather of rows in place", data, sum);
  }

  void expect_sent(const char* what, int64_t before, int64_t elements) {
    if (comm_.bytes_sent() - before != elements * int64_t{sizeof(T)})
      throw std::runtime_error(fmt::format("{} counts its bytes wrong", what));
  }

  void moves() {
    const Buffer& whole = inputs_[0];
    Buffer shard = shard_of(whole), data(count_);
    comm_.all_gather(shard.data(), data.data(), count_, kDType);
    expect("all_gather", data, whole);
    data.assign(count_, T{});
    std::copy(shard.begin(), shard.end(), data.begin() + split_begin(count_, n_, rank_));
    comm_.all_gather(data.data() + split_begin(count_, n_, rank_), data.data(), count_, kDType);
    expect("all_gather in place", data, whole);

    for (int root = 0; root < n_; ++root) {
      data = inputs_[rank_];
      comm_.broadcast(data.data(), count_, kDType, root);
      expect("broadcast", data, inputs_[root]);
      Buffer all(rank_ == root ? count_ * n_ : 0), want;
      if (rank_ == root) {
        for (const Buffer& input : inputs_) want.insert(want.end(), input.begin(), input.end());
      }
      comm_.gather(inputs_[rank_].data(), all.data(), count_, kDType, root);
      expect("gather", all, want);
    }

    // Round the ring: isend first, because a send may wait for its receive.
    const int next = (rank_ + 1) % n_, previous = (rank_ + n_ - 1) % n_;
    if (n_ > 1) {
      Request sent = comm_.isend(inputs_[rank_].data(), count_, kDType, next, Communicator::kMaxTag);
      comm_.recv(data.data(), count_, kDType, previous, Communicator::kMaxTag);
      sent.wait();
      expect("send", data, inputs_[previous]);
    }
    comm_.barrier();
  }

  Communicator& comm_;
  const int n_, rank_;
  Bytes& results_;
  int64_t count_ = 0;
  std::vector<Buffer> inputs_;  // of every rank
};

inline void check_collectives(Communicator& comm, Bytes& results) {
  CollectiveChecks<float>(comm, results).run();
  CollectiveChecks<BFloat16>(comm, results).run();
  CollectiveChecks<Float16>(comm, results).run();
  CollectiveChecks<int32_t>(comm, results).run();
  CollectiveChecks<int64_t>(comm, results).run();
}

// Messages between all pairs on three tags, sizes from 0 to 100,000 bytes, posted in another order on each rank (in
// order within a pair and tag) and completed in random order by test() and wait().
inline void check_message_storm(Communicator& comm, unsigned seed) {
  constexpr int kTags = 3, kEach = 8;
  struct Expected {
    Request request;
    std::vector<uint8_t> buffer;
    int source = 0, tag = 0, index = 0;
  };
  const auto content = [](int source, int dest, int tag, int index) {
    std::mt19937 generator(static_cast<unsigned>(((source * 64 + dest) * kTags + tag) * kEach + index));
    const size_t bytes = generator() % 3 == 0 ? generator() % 100'001 : generator() % 64;
    return std::vector<uint8_t>(bytes, static_cast<uint8_t>(generator()));
  };
  std::mt19937 order(seed + static_cast<unsigned>(comm.rank()));
  std::vector<std::pair<int, int>> posts;  // peer and tag; sends have tag + kTags
  for (int peer = 0; peer < comm.size(); ++peer) {
    for (int i = 0; i < kEach * kTags * 2 && peer != comm.rank(); ++i) posts.emplace_back(peer, i % (kTags * 2));
  }
  std::shuffle(posts.begin(), posts.end(), order);
  std::vector<Expected> messages(posts.size());
  std::vector<std::vector<int>> counts(comm.size(), std::vector<int>(kTags * 2));
  for (size_t i = 0; i < posts.size(); ++i) {
    const auto [peer, tag] = posts[i];
    const int index = counts[peer][tag]++;
    Expected& m = messages[i];
    if (tag >= kTags) {
      m.buffer = content(comm.rank(), peer, tag - kTags, index);
      m.source = comm.rank();
      m.request = comm.isend(m.buffer.data(), static_cast<int64_t>(m.buffer.size()), DType::kU8, peer, tag - kTags);
    } else {
      m.buffer.resize(content(peer, comm.rank(), tag, index).size());
      m.source = peer, m.tag = tag, m.index = index;
      m.request = comm.irecv(m.buffer.data(), static_cast<int64_t>(m.buffer.size()), DType::kU8, peer, tag);
    }
  }
  std::shuffle(messages.begin(), messages.end(), order);
  for (Expected& m : messages) {
    if (order() % 2 == 0) m.request.test();
  }
  for (Expected& m : messages) {
    m.request.wait();
    if (m.source != comm.rank() && m.buffer != content(m.source, comm.rank(), m.tag, m.index)) {
      throw std::runtime_error(fmt::format("message {} of tag {} from {} is wrong", m.index, m.tag, m.source));
    }
  }
}

}  // namespace trine
