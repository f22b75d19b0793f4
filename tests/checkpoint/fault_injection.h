// Lets the n-th system call that changes a file, or looks at one, fail, come up short or be the last thing the
// process does. The calls of this whole program, its libraries included, go through here; disarmed they are passed
// on. Of those that look, only the ones in a ScratchFolder or by a relative path count.
#pragma once

#include <string>
#include <vector>

namespace trine::testing {

enum class Call { kWrite, kSync, kRename, kUnlink, kMkdir, kOpen, kRead, kList, kStat };
inline constexpr Call kCalls[] = {Call::kWrite, Call::kSync, Call::kRename, Call::kUnlink, Call::kMkdir};
inline constexpr Call kLooks[] = {Call::kOpen, Call::kRead, Call::kList, Call::kStat};
const char* name(Call call);

struct Fault {
  enum class Action { kNone, kDie, kDieHalfway, kFail, kShort };  // halfway: half of a write is done
  Call call = Call::kWrite;
  int n = 0;  // from 1
  Action action = Action::kNone;
  int error = 0;          // of kFail
  bool for_good = false;  // from the n-th on
  std::string in = {};    // only paths with this text in them count
};
constexpr int kDied = 42;  // the exit status

struct Record {
  Call call;
  std::string path;
};

// Counts, and records calls from now on; one fault at a time.
void arm(const Fault& fault);
// The calls since arm(), in order.
std::vector<Record> disarm();

}  // namespace trine::testing
