// Which of a library's algorithms each product runs by. The library's favourite is a guess; trials time the best
// few, once for each problem, at the start, and a small file keeps what was found, for this kind of GPU and these
// versions.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>

namespace trine::cuda {

class ProductChoices {
 public:
  struct Options {
    std::filesystem::path file;  // empty: nothing is kept
    std::string machine;         // GPU and library versions: choices are good for this one
    double most_seconds = 4;     // of all trials
  };
  // Runs the candidate of this index kRuns times: seconds of one run, or infinity if it fails.
  static constexpr int kRuns = 4;
  using Trial = std::function<double(size_t)>;

  explicit ProductChoices(Options options) : options_(std::move(options)) {}
  // Until close(), choose() may time. Reads the file; one that cannot be read is as none, and a notice.
  void open();
  // Keeps what was found, in the file too, beside what others have found meanwhile. Failing to is a notice.
  void close();
  // Which of the `candidates`, favourite first, named by what does not change from run to run. What is not known
  // and cannot be timed (closed, or no time is left) is the favourite, and is not kept. REQUIRES: there is one.
  size_t choose(const std::string& problem, std::span<const std::string> candidates, const Trial& trial);

  // What ranks that compute the same must agree on, or their copies of a weight drift apart: what is chosen so far,
  // and taking another rank's choices for the same problems, if its GPU and libraries are the same.
  std::string table() const;
  void adopt(const std::string& table);
  // Counts what was adopted: what choose() said before may have changed.
  int version() const { return version_; }

  // "12 products timed in 0.8 s, 30 known"; empty before any was chosen.
  std::string text() const;
  const std::set<std::string>& notices() const { return notices_; }

 private:
  using Chosen = std::map<std::string, std::string>;  // a candidate's name, by problem
  std::map<std::string, Chosen> read() const;         // by machine

  const Options options_;
  bool open_ = false, is_new_ = false;
  double seconds_ = 0;
  int timed_ = 0, known_ = 0, version_ = 0;
  Chosen chosen_;
  std::set<std::string> notices_;
};

// $XDG_CACHE_HOME/trine/products.json or ~/.cache/trine/products.json; empty where neither is set.
std::filesystem::path product_choices_file();

}  // namespace trine::cuda
