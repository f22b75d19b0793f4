// The messages between pipeline stages. One FIFO for each directed edge (forward or backward, from rank to rank); a
// thread moves them along while the rank computes. runtime/step/pipeline_edges.h says what else a message passes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"

namespace trine {

class PipelineLane {
 public:
  using Ticket = int64_t;  // messages count from 1; 0 is always complete

  // `group` outlives the lane, and nobody else uses it.
  PipelineLane(const std::string& name, Communicator& group);
  // Withdraws what is not complete.
  ~PipelineLane();
  PipelineLane(const PipelineLane&) = delete;
  PipelineLane& operator=(const PipelineLane&) = delete;

  // Posted at once, never blocking; the buffer belongs to the message until it is complete. All by one thread.
  Ticket send(const void* data, int64_t bytes, int peer, int tag);
  Ticket receive(void* data, int64_t bytes, int peer, int tag);

  // Until the message is complete: HangError, PeerLostError. Returns when that was noticed (steady clock, ns).
  int64_t wait(Ticket ticket);
  void wait_all();

 private:
  struct Outstanding {
    Ticket ticket;
    Request request;
  };
  Ticket add(Request request);
  void poll();
  bool test_all();

  Communicator& group_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Outstanding> outstanding_;
  std::vector<std::pair<Ticket, int64_t>> completed_;  // not waited for yet, and when
  Ticket last_ticket_ = 0;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace trine
