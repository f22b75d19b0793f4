#include "runtime/step/link_pacer.h"

#include <cmath>
#include <map>

#include "base/clock.h"
#include "base/error.h"
#include "comm/lane_thread.h"
#include "runtime/device/meeting_place.h"

namespace trine {
namespace {

// Both ends of a message wait for the modelled one, each edge on a thread of its own. Messages of an edge move one
// behind the other, as they do in the simulator and in NCCL's channel of two ranks.
class PacedEdges final : public PipelineEdges {
 public:
  PacedEdges(LinkPacer& pacer, std::unique_ptr<PipelineEdges> edges) : pacer_(pacer), edges_(std::move(edges)) {}

  Ticket send(PipelineEdge edge, const std::byte* data, int64_t bytes, Mark ready) override {
    return add(edge, true, bytes, edges_->send(edge, data, bytes, ready));
  }
  Ticket receive(PipelineEdge edge, std::byte* data, int64_t bytes, Mark ready) override {
    return add(edge, false, bytes, edges_->receive(edge, data, bytes, ready));
  }
  void wait_sent(Ticket ticket) override {
    const auto found = messages_.find(ticket);
    if (found == messages_.end()) return;
    edges_->wait_sent(found->second.inner);
    end_of(found->second);
    messages_.erase(found);
  }
  Mark wait_received(Ticket ticket) override {
    const auto found = messages_.find(ticket);
    TRINE_CHECK(found != messages_.end(), "message {} was waited for before", ticket);
    const Mark arrived = edges_->wait_received(found->second.inner);
    const Mark end = std::max(arrived, end_of(found->second));
    messages_.erase(found);
    return end;
  }
  void wait_all() override {
    edges_->wait_all();
    for (auto& [ticket, message] : messages_) end_of(message);
    messages_.clear();
  }

 private:
  struct Edge {
    LaneThread thread{"paced edge"};
    int64_t free_ns = 0;  // the message before has ended; of the thread
  };
  struct Message {
    Ticket inner = 0;
    Edge* edge = nullptr;
    LaneThread::Ticket paced = 0;
    std::shared_ptr<int64_t> end_ns;
  };

  Ticket add(PipelineEdge edge, bool sends, int64_t bytes, Ticket inner) {
    std::unique_ptr<Edge>& own = own_edges_[{edge, sends}];
    if (!own) own = std::make_unique<Edge>();
    Message message{.inner = inner, .edge = own.get(), .end_ns = std::make_shared<int64_t>(0)};
    message.paced = own->thread.enqueue(
        [this, own = own.get(), posted_ns = now_ns(), place = pacer_.meetings().place_of(edge, sends),
         transfer = pacer_.links().message(edge.peer, sends, bytes), end_ns = message.end_ns] {
          *end_ns = own->free_ns = pacer_.carry(place, transfer, std::max(posted_ns, own->free_ns));
        });
    messages_[++last_ticket_] = message;
    return last_ticket_;
  }
  static int64_t end_of(const Message& message) {
    message.edge->thread.wait(message.paced);
    return *message.end_ns;
  }

  LinkPacer& pacer_;
  std::unique_ptr<PipelineEdges> edges_;
  std::map<Ticket, Message> messages_;  // not waited for yet
  Ticket last_ticket_ = 0;
  std::map<std::pair<PipelineEdge, bool>, std::unique_ptr<Edge>> own_edges_;  // and whether this rank sends
};

}  // namespace

LinkPacer::LinkPacer(CommWorld& world, EmulatedLinks links)
    : world_(world),
      links_(std::move(links)),
      timeout_(world[Group::kWorld].timeout()),
      carrier_(world, links_.links) {
  for (const Group group : kGroups) world_[group].wait_on_while([this] { return carrier_.last_progress_ns(); });
}

LinkPacer::~LinkPacer() {
  for (const Group group : kGroups) world_[group].wait_on_while({});
}

int64_t LinkPacer::carry(const Meetings::Place& place, const EmulatedTransfer& transfer, int64_t ready_ns) {
  const int64_t came_ns = now_ns();
  const auto check = [&] {
    const int64_t moved_ns = std::max(came_ns, carrier_.last_progress_ns());
    if (timeout_.count() > 0 && std::chrono::nanoseconds(now_ns() - moved_ns) > timeout_)
      throw HangError(fmt::format(
          "[comm] a rank waits for another one at an emulated link: no answer within {} s. Look at what that rank "
          "does, or raise --timeout if it is only slow.",
          static_cast<double>(timeout_.count()) / 1e3));
  };
  return carrier_.carry(place, transfer, ready_ns, check);
}

Kernel LinkPacer::paced(Kernel kernel, const KernelRequest& request) {
  return [this, kernel = std::move(kernel), place = meeting_place(meetings(), request),
          transfer = links_.collective(request.node)](const KernelCall& call) {
    const int64_t ready_ns = now_ns();
    kernel(call);
    carry(place, transfer, ready_ns);
  };
}

std::unique_ptr<PipelineEdges> LinkPacer::paced(std::unique_ptr<PipelineEdges> edges) {
  return std::make_unique<PacedEdges>(*this, std::move(edges));
}

}  // namespace trine
