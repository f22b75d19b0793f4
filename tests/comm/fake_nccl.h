// A libnccl.so.2 that moves nothing: it holds callers to NCCL's rules for threads, and blocks where a test says so.
#pragma once

extern "C" {

// What a test asks of the library, found by these names.
struct FakeNccl {
  long calls = 0;  // that began
  long violations =
      0;  // calls that began while another thread was inside, and calls with a communicator that is gone
  long aborts = 0;
  long inside = 0;                 // calls under way, but aborts
  int max_ctas = 0, blocking = 0;  // of the last communicator
  bool peer_to_peer = true;        // whether it may
};
FakeNccl fake_nccl_state();
// From now on, operations (or the making of a communicator) block until hold is false, or an abort.
void fake_nccl_hold(bool operations, bool connections);

}  // extern "C"
