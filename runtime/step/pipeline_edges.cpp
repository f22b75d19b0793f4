#include "runtime/step/pipeline_edges.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "comm/lane_thread.h"

namespace trine {
namespace {

int tag_of(PipelineEdge edge) { return edge.backward ? 1 : 0; }

class HostEdges final : public PipelineEdges {
 public:
  explicit HostEdges(Communicator& group) : lane_("pipeline", group) {}

  Ticket send(PipelineEdge edge, const std::byte* data, int64_t bytes, Mark) override {
    return lane_.send(data, bytes, edge.peer, tag_of(edge));
  }
  Ticket receive(PipelineEdge edge, std::byte* data, int64_t bytes, Mark) override {
    return lane_.receive(data, bytes, edge.peer, tag_of(edge));
  }
  void wait_sent(Ticket ticket) override { lane_.wait(ticket); }
  Mark wait_received(Ticket ticket) override { return lane_.wait(ticket); }
  void wait_all() override { lane_.wait_all(); }

 private:
  PipelineLane lane_;
};

// A send is copied to the host by a thread, which waits for what makes it; a receive is copied to the device by the
// caller once it has arrived. The two directions have queues of their own.
class StagedEdges final : public PipelineEdges {
 public:
  StagedEdges(Communicator& group, Backend& backend)
      : backend_(backend), timeline_(backend.timeline()), lane_("pipeline", group), copies_("pipeline copy") {}

  Ticket send(PipelineEdge edge, const std::byte* data, int64_t bytes, Mark ready) override {
    Message& message = add(data, bytes);
    message.copied = copies_.enqueue([this, &message, edge, data, bytes, ready] {
      std::byte* const staged = message.buffer->memory->data();
      timeline_.wait(kOut, ready);
      backend_.copy(kOut, data, staged, bytes);
      timeline_.synchronize(timeline_.mark(kOut));
      message.on_wire = lane_.send(staged, bytes, edge.peer, tag_of(edge));
    });
    return last_ticket_;
  }

  Ticket receive(PipelineEdge edge, std::byte* data, int64_t bytes, Mark ready) override {
    Message& message = add(data, bytes);
    Buffer& buffer = *message.buffer;
    if (buffer.in_use) timeline_.synchronize(*buffer.in_use);  // the copy of what it held before
    buffer.in_use.reset();
    message.to = data, message.bytes = bytes, message.ready = ready;
    message.on_wire = lane_.receive(buffer.memory->data(), bytes, edge.peer, tag_of(edge));
    return last_ticket_;
  }

  void wait_sent(Ticket ticket) override {
    const auto message = messages_.find(ticket);
    if (message == messages_.end()) return;
    copies_.wait(message->second.copied);
    lane_.wait(message->second.on_wire);
    messages_.erase(message);
  }

  Mark wait_received(Ticket ticket) override {
    const auto found = messages_.find(ticket);
    TRINE_CHECK(found != messages_.end(), "message {} was waited for before", ticket);
    const Message& message = found->second;
    lane_.wait(message.on_wire);
    timeline_.wait(kIn, message.ready);
    backend_.copy(kIn, message.buffer->memory->data(), message.to, message.bytes);
    const Mark arrived = timeline_.mark(kIn);
    message.buffer->in_use = arrived;
    timeline_.wait(Lane::kCompute, arrived);
    messages_.erase(found);
    return arrived;
  }

  // Marks do not outlive a step.
  void wait_all() override {
    for (const auto& [ticket, message] : messages_) copies_.wait(message.copied);
    lane_.wait_all();
    messages_.clear();
    for (auto& [key, buffer] : buffers_) {
      if (buffer.in_use) timeline_.synchronize(*buffer.in_use);
      buffer.in_use.reset();
    }
  }

 private:
  static constexpr Queue kOut = Lane::kCopy, kIn = Lane::kPp;

  // Host memory beside a buffer of the device.
  struct Buffer {
    std::unique_ptr<DeviceMemory> memory;
    std::optional<Mark> in_use;  // until then the device reads it
  };
  struct Message {
    Buffer* buffer = nullptr;
    LaneThread::Ticket copied = 0;
    PipelineLane::Ticket on_wire = 0;
    std::byte* to = nullptr;
    int64_t bytes = 0;
    Mark ready = 0;
  };

  Message& add(const std::byte* data, int64_t bytes) {
    Buffer& buffer = buffers_[{data, bytes}];
    if (!buffer.memory) buffer.memory = backend_.allocate_host(bytes);
    Message& message = messages_[++last_ticket_];
    message.buffer = &buffer;
    return message;
  }

  Backend& backend_;
  Timeline& timeline_;
  std::map<std::pair<const std::byte*, int64_t>, Buffer> buffers_;  // by the device's address and size
  std::map<Ticket, Message> messages_;                              // not waited for yet
  Ticket last_ticket_ = 0;
  PipelineLane lane_;
  LaneThread copies_;  // last: its thread uses the rest
};

class DeviceEdges final : public PipelineEdges {
 public:
  DeviceEdges(DeviceWorld& world, Backend& backend)
      : world_(world), backend_(backend), timeline_(backend.timeline()) {}

  Ticket send(PipelineEdge edge, const std::byte* data, int64_t bytes, Mark ready) override {
    const Queue queue = queue_of(sends_, edge);
    timeline_.wait(queue, ready);
    world_.send(edge, data, bytes, backend_.native(queue));
    return add(queue);
  }
  Ticket receive(PipelineEdge edge, std::byte* data, int64_t bytes, Mark ready) override {
    const Queue queue = queue_of(receives_, edge);
    timeline_.wait(queue, ready);
    world_.receive(edge, data, bytes, backend_.native(queue));
    return add(queue);
  }
  void wait_sent(Ticket ticket) override { take(ticket); }
  Mark wait_received(Ticket ticket) override {
    const std::optional<Mark> mark = take(ticket);
    TRINE_CHECK(mark, "message {} was waited for before", ticket);
    return *mark;
  }
  void wait_all() override { marks_.clear(); }

 private:
  Queue queue_of(std::map<PipelineEdge, Queue>& queues, PipelineEdge edge) {
    const auto found = queues.find(edge);
    return found != queues.end() ? found->second : queues.emplace(edge, backend_.add_queue()).first->second;
  }
  Ticket add(Queue queue) {
    marks_[++last_ticket_] = timeline_.mark(queue);
    return last_ticket_;
  }
  std::optional<Mark> take(Ticket ticket) {
    const auto found = marks_.find(ticket);
    if (found == marks_.end()) return std::nullopt;
    const Mark mark = found->second;
    marks_.erase(found);
    timeline_.wait(Lane::kCompute, mark);
    return mark;
  }

  DeviceWorld& world_;
  Backend& backend_;
  Timeline& timeline_;
  std::map<PipelineEdge, Queue> sends_, receives_;
  std::map<Ticket, Mark> marks_;  // not waited for yet
  Ticket last_ticket_ = 0;
};

}  // namespace

std::unique_ptr<PipelineEdges> make_host_edges(Communicator& group) { return std::make_unique<HostEdges>(group); }

std::unique_ptr<PipelineEdges> make_staged_edges(Communicator& group, Backend& backend) {
  return std::make_unique<StagedEdges>(group, backend);
}

std::unique_ptr<PipelineEdges> make_device_edges(DeviceWorld& world, Backend& backend) {
  return std::make_unique<DeviceEdges>(world, backend);
}

}  // namespace trine
