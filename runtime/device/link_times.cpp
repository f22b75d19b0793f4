#include "runtime/device/link_times.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/shape.h"
#include "comm/staged_pieces.h"
#include "runtime/job/agreement.h"
#include "runtime/step/trace_recorder.h"

namespace trine {
namespace {

using Call = RunMessage::Op;
constexpr int64_t kMostBytes = int64_t{32} << 20, kPieceBytes = int64_t{4} << 20, kItem = sizeof(float);
constexpr int kRounds = 3;

Call op_of(const std::string& name) {
  if (name == "send") return Call::kSend;
  if (name == "all_gather") return Call::kAllGather;
  return name == "reduce_scatter" ? Call::kReduceScatter : Call::kAllReduce;
}

// Of what each rank sends, the whole that is split or reduced.
int64_t whole_bytes(Call op, int64_t sent, int64_t ranks) {
  if (op == Call::kSend || ranks == 1) return sent;
  return sent * ranks / (ranks - 1) / (op == Call::kAllReduce ? 2 : 1);
}

// Sums of them over any number of ranks are exact.
float number(int64_t index, int rank) { return static_cast<float>((index % 61 + 1) * (rank + 1)); }

struct Exchange {
  Backend& backend;
  CommWorld& world;
  DeviceWorld* device;
  const RunMessage& message;
  int64_t count;  // f32 elements of the whole
  std::chrono::milliseconds timeout;

  Communicator& group() const {
    return world[message.axis == Axis::kTp ? Group::kTp : message.axis == Axis::kDp ? Group::kDp : Group::kPp];
  }
  Lane lane() const {
    return message.axis == Axis::kTp ? Lane::kTp : message.axis == Axis::kDp ? Lane::kDp : Lane::kPp;
  }
  int rank() const { return group().rank(); }
  int size() const { return group().size(); }
  int64_t begin() const { return split_begin(count, size(), rank()); }
  int64_t share() const { return split_size(count, size(), rank()); }

  // What this rank gives: elements of `whole`, whose begin-th is the first.
  std::pair<int64_t, int64_t> given() const {
    return message.op == Call::kAllGather ? std::pair{begin(), share()} : std::pair{int64_t{0}, count};
  }
  // And what it gets.
  std::pair<int64_t, int64_t> got() const {
    if (message.op == Call::kReduceScatter) return {begin(), share()};
    return {0, message.op == Call::kSend && rank() == 0 ? 0 : count};
  }
  float expected(int64_t index) const {
    if (message.op == Call::kSend) return number(index, rank() - 1);
    if (message.op != Call::kAllGather) return number(index, 0) * static_cast<float>(size() * (size() + 1) / 2);
    int owner = 0;
    while (split_begin(count, size(), owner) + split_size(count, size(), owner) <= index) ++owner;
    return number(index, owner);
  }

  void by_device(std::byte* from, std::byte* to, Queue receives) const {
    void* const queue = backend.native(Queue(lane()));
    switch (message.op) {
      case Call::kAllReduce:
        backend.copy(Queue(lane()), from, to, count * kItem);
        return (*device)[message.axis].all_reduce(to, count, DType::kF32, ReduceOp::kSum, queue);
      case Call::kReduceScatter:
        return (*device)[message.axis].reduce_scatter(from, to, count, DType::kF32, 1, queue);
      case Call::kAllGather:
        return (*device)[message.axis].all_gather(from, to, count, DType::kF32, 1, queue);
      case Call::kSend:  // down the pipeline, each edge in a queue of its own
        if (rank() > 0) device->receive({rank() - 1, false}, to, count * kItem, backend.native(receives));
        if (rank() + 1 < size()) device->send({rank() + 1, false}, from, count * kItem, queue);
        return;
    }
  }

  // Pieces of the host's part, out and in beside the exchange.
  void by_host(std::byte* from, std::byte* to, std::byte* host, Queue in) const {
    if (message.op == Call::kSend) return send_by_host(from, to, host);
    const int ranks = size();
    // A piece of each rank's share; the last shares are shorter.
    const StagedPieces pieces{split_size(count, ranks, 0), std::max<int64_t>(1, kPieceBytes / kItem / ranks)};
    Timeline& timeline = backend.timeline();
    std::vector<Mark> out(static_cast<size_t>(pieces.num_pieces()));
    const auto each = [&](int64_t piece, bool own_only, auto&& copy) {
      for (int r = own_only ? rank() : 0; r < (own_only ? rank() + 1 : ranks); ++r) {
        const int64_t first = split_begin(count, ranks, r) + pieces.begin(piece);
        const int64_t length = std::min(pieces.size(piece), split_size(count, ranks, r) - pieces.begin(piece));
        if (length > 0) copy(r, first, length);
      }
    };
    const auto place = [&](int64_t piece, int r) {
      return host + (piece % (StagedPieces::kAhead + 1) * ranks + r) * pieces.length * kItem;
    };
    const int64_t given_begin = given().first, got_begin = got().first;
    pieces.run(
        [&](int64_t piece) {
          if (piece > StagedPieces::kAhead) timeline.synchronize(timeline.mark(in));
          each(piece, message.op == Call::kAllGather, [&](int r, int64_t first, int64_t length) {
            backend.copy(Queue(lane()), from + (first - given_begin) * kItem, place(piece, r), length * kItem);
          });
          out[static_cast<size_t>(piece)] = timeline.mark(Queue(lane()));
        },
        [&](int64_t piece) { timeline.synchronize(out[static_cast<size_t>(piece)]); },
        [&](int64_t piece) {
          const int64_t whole = pieces.length * ranks;
          if (message.op == Call::kAllReduce)
            group().all_reduce(place(piece, 0), whole, DType::kF32);
          else if (message.op == Call::kReduceScatter)
            group().reduce_scatter(place(piece, 0), place(piece, rank()), whole, DType::kF32);
          else
            group().all_gather(place(piece, rank()), place(piece, 0), whole, DType::kF32);
        },
        [&](int64_t piece) {
          each(piece, message.op == Call::kReduceScatter, [&](int r, int64_t first, int64_t length) {
            backend.copy(in, place(piece, r), to + (first - got_begin) * kItem, length * kItem);
          });
        });
  }

  void send_by_host(std::byte* from, std::byte* to, std::byte* host) const {
    const int64_t bytes = count * kItem;
    Request sent, received;
    if (rank() > 0) received = group().irecv(host + bytes, bytes, DType::kU8, rank() - 1, 0);
    if (rank() + 1 < size()) {
      backend.copy(Queue(lane()), from, host, bytes);
      backend.timeline().synchronize(backend.timeline().mark(Queue(lane())));
      sent = group().isend(host, bytes, DType::kU8, rank() + 1, 0);
    }
    if (rank() > 0) {
      received.wait();
      backend.copy(Queue(lane()), host + bytes, to, bytes);
    }
    if (rank() + 1 < size()) sent.wait();
  }

  // As long as nobody watches the device, a message that never comes must end here.
  void finish(Queue second) const {
    Timeline& timeline = backend.timeline();
    timeline.mark(Queue(lane())), timeline.mark(second);
    const auto done = [&] {
      const Timeline::Progress progress = timeline.progress();
      return progress.made == progress.reached;
    };
    const int64_t begin_ns = now_ns(), limit_ns = std::chrono::nanoseconds(timeout).count();
    while (device != nullptr && limit_ns > 0 && !done()) {
      if (now_ns() - begin_ns < limit_ns) continue;
      const auto hang = std::make_exception_ptr(
          HangError(fmt::format("[comm] {} tried before training did not end within {} s.", message.text(),
                                static_cast<double>(timeout.count()) / 1e3)));
      device->abort(hang);
      std::rethrow_exception(hang);
    }
    timeline.synchronize_all();
  }

  MessageTime time(Queue second) {
    const auto memory = [&](int64_t elements) { return backend.allocate(std::max<int64_t>(1, elements) * kItem); };
    const auto [given_begin, given_size] = given();
    const auto [got_begin, got_size] = got();
    // All that may fail on one rank alone, before any talks.
    std::unique_ptr<DeviceMemory> from, to, host;
    run_agreed(&world[Group::kWorld], [&, given_begin = given_begin, given_size = given_size] {
      from = memory(given_size), to = memory(count);
      if (device == nullptr) host = backend.allocate_host(host_bytes());
      std::vector<float> values(static_cast<size_t>(given_size));
      for (int64_t i = 0; i < given_size; ++i) values[static_cast<size_t>(i)] = number(given_begin + i, rank());
      backend.write(std::as_bytes(std::span(values)), from->data());
    });
    Timeline& timeline = backend.timeline();
    MessageTime best{.seconds = 1e30};
    for (int round = 0; round <= kRounds; ++round) {  // the first opens connections
      timeline.synchronize_all();
      world[Group::kWorld].barrier();
      const int64_t begin_ns = now_ns();
      device ? by_device(from->data(), to->data(), second)
             : by_host(from->data(), to->data(), host->data(), second);
      finish(second);
      const double seconds = static_cast<double>(now_ns() - begin_ns) * 1e-9;
      timeline.begin_step();
      if (round > 0) best.seconds = std::min(best.seconds, seconds);
    }
    std::vector<float> values(static_cast<size_t>(got_size));
    if (got_size > 0) backend.read(to->data(), std::as_writable_bytes(std::span(values)));
    for (int64_t i = 0; i < got_size; ++i)
      best.data_right = best.data_right && values[static_cast<size_t>(i)] == expected(got_begin + i);
    return best;
  }

  int64_t host_bytes() const {
    if (message.op == Call::kSend) return 2 * count * kItem;
    return (StagedPieces::kAhead + 1) * std::max<int64_t>(kPieceBytes, size() * kItem);
  }
};

}  // namespace

std::vector<RunMessage> messages_of(const StepWork& own, CommWorld& world) {
  struct Kind {
    int64_t count = 0, bytes = 0, most_bytes = 0;
  };
  struct Kinds {
    Kind of[3][4];
  } kinds;
  for (const Traffic& t : own.traffic) {
    Kind& kind = kinds.of[static_cast<size_t>(t.axis)][static_cast<size_t>(op_of(t.op))];
    kind.count += t.count, kind.bytes += t.bytes, kind.most_bytes = std::max(kind.most_bytes, t.most_bytes);
  }
  Kinds most;
  for (const Kinds& of_rank : gather_all(&world[Group::kWorld], kinds))
    for (size_t axis = 0; axis < 3; ++axis)
      for (size_t op = 0; op < 4; ++op) {
        const Kind& kind = of_rank.of[axis][op];
        Kind& m = most.of[axis][op];
        m.count = std::max(m.count, kind.count), m.bytes = std::max(m.bytes, kind.bytes);
        m.most_bytes = std::max(m.most_bytes, kind.most_bytes);
      }
  std::vector<RunMessage> messages;
  for (size_t axis = 0; axis < 3; ++axis)
    for (size_t op = 0; op < 4; ++op)
      if (const Kind& kind = most.of[axis][op]; kind.most_bytes > 0)
        messages.push_back(
            {.axis = static_cast<Axis>(axis),
             .op = static_cast<Call>(op),
             .bytes = whole_bytes(static_cast<Call>(op), kind.most_bytes, world.mesh()[static_cast<Axis>(axis)]),
             .per_step = static_cast<double>(kind.bytes) / static_cast<double>(kind.most_bytes)});
  return messages;
}

MessageTimer message_timer(Backend& backend, CommWorld& world, DeviceWorld* device,
                           std::chrono::milliseconds timeout) {
  return [&backend, &world, device, timeout, second = backend.add_queue()](const RunMessage& message) {
    const int64_t bytes = std::clamp(message.bytes, kItem * 64, kMostBytes);
    const MessageTime own = Exchange{backend, world, device, message, bytes / kItem, timeout}.time(second);
    MessageTime all{.seconds = 0};
    for (const MessageTime& time : gather_all(&world[Group::kWorld], own)) {
      all.seconds = std::max(all.seconds, time.seconds);
      all.data_right = all.data_right && time.data_right;
    }
    all.seconds *= std::max(1.0, static_cast<double>(message.bytes) / static_cast<double>(bytes));
    return all;
  };
}

}  // namespace trine
