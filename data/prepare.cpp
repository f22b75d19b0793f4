#include "data/prepare.h"

#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "data/text_reader.h"
#include "data/token_file_writer.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr size_t kPieceBytes = size_t{256} << 10, kMaxDocumentBytes = size_t{256} << 20;

// Encodes documents of any length piece by piece.
class DocumentEncoder {
 public:
  DocumentEncoder(const Tokenizer& tokenizer, int32_t end_id, TokenFileWriter& writer)
      : tokenizer_(tokenizer), end_id_(end_id), writer_(writer) {}

  void add(std::string_view text) {
    while (!text.empty()) {  // so that a document of one huge line of .jsonl is not copied whole
      const size_t part = std::min(text.size(), 2 * kPieceBytes - std::min(2 * kPieceBytes - 1, pending_.size()));
      pending_ += text.substr(0, part);
      text.remove_prefix(part);
      if (pending_.size() < kPieceBytes) continue;
      const size_t cut = cut_position(pending_);
      encode(std::string_view(pending_).substr(0, cut));
      pending_.erase(0, cut);
    }
  }

  void end() {
    encode(pending_);
    pending_.clear();
    if (num_tokens_ > 0) writer_.append({&end_id_, 1});
    num_tokens_ = 0;
    writer_.end_document();
  }

 private:
  // After the last newline with no white space behind it, where no token of the usual patterns reaches across; else
  // the last beginning of a UTF-8 character.
  static size_t cut_position(std::string_view text) {
    for (size_t at = text.size() - 1; at > 0; --at) {
      if (text[at - 1] == '\n' && std::string_view(" \t\r\n\v\f").find(text[at]) == std::string_view::npos)
        return at;
    }
    size_t at = text.size() - 1;
    while (at + 4 > text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
    return at;
  }

  void encode(std::string_view text) {
    ids_.clear();
    tokenizer_.encode(text, ids_);
    num_tokens_ += ids_.size();
    writer_.append(ids_);
  }

  const Tokenizer& tokenizer_;
  const int32_t end_id_;
  TokenFileWriter& writer_;
  std::string pending_;
  std::vector<int32_t> ids_;
  size_t num_tokens_ = 0;
};

// Reads the documents of one file after another.
class DocumentReader {
 public:
  DocumentReader(const PrepareRequest& request, DocumentEncoder& encoder, std::function<void(int64_t)> on_read)
      : request_(request), encoder_(encoder), on_read_(std::move(on_read)) {}

  void read(const std::string& path, std::FILE* standard_input) {
    TextReader file(path, standard_input);
    std::string block;
    file.read(block);
    recognised_ = request_.format == TextFormat::kAuto
                      ? recognise_text(path, block, block.size() < TextReader::kBlockBytes)
                      : Recognised{request_.format};
    if (!recognised_.problem.empty()) throw file.error(recognised_.problem);
    recognised_.format == TextFormat::kJsonLines ? read_lines(file, block) : read_text(file, block);
  }

  int64_t skipped_lines() const { return skipped_lines_; }
  const std::string& first_skipped() const { return first_skipped_; }

 private:
  // The next block; the bytes before it are done.
  bool next(TextReader& file, std::string& block) {
    const bool more = file.read(block);
    on_read_(file.bytes_read() - std::exchange(done_bytes_, file.bytes_read()));
    if (!more) done_bytes_ = 0;
    return more;
  }

  void read_text(TextReader& file, std::string& block) {
    do encoder_.add(block);
    while (next(file, block));
    encoder_.end();
  }

  void read_lines(TextReader& file, std::string& block) {
    std::string line;
    bool too_long = false;
    int64_t number = 0;
    if (block.starts_with(kByteOrderMark)) block.erase(0, kByteOrderMark.size());
    const auto take_line = [&] {
      ++number;
      if (too_long)
        bad_line(file, number,
                 fmt::format("longer than {}. Split the document", format_bytes(int64_t{kMaxDocumentBytes})));
      else if (line.find_first_not_of(" \t\r") != std::string::npos)
        document_of_line(file, number, line);
      line.clear();
      too_long = false;
    };
    do {
      std::string_view rest = block;
      for (size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
        if (!too_long) line += rest.substr(0, end);
        take_line();
      }
      if (!too_long) line += rest;
      if (line.size() > kMaxDocumentBytes) too_long = true, line.clear();
    } while (next(file, block));
    if (too_long || !line.empty()) take_line();
  }

  void document_of_line(const TextReader& file, int64_t number, std::string_view line) {
    const TextLine read = text_of_line(line);
    if (!read.problem.empty())
      return bad_line(
          file, number,
          fmt::format("{}. Mend or remove the line, or leave such lines out with --skip-bad-lines{}", read.problem,
                      request_.format == TextFormat::kAuto ? "; --format text takes the file as plain text" : ""));
    encoder_.add(read.text);
    encoder_.end();
  }

  void bad_line(const TextReader& file, int64_t number, const std::string& what) {
    DataError error = file.error(number, what);
    if (!request_.skip_bad_lines) throw error;
    if (skipped_lines_++ == 0) first_skipped_ = fmt::format("{}:{}: {}", file.name(), number, what);
  }

  const PrepareRequest& request_;
  DocumentEncoder& encoder_;
  std::function<void(int64_t)> on_read_;
  Recognised recognised_;
  int64_t done_bytes_ = 0, skipped_lines_ = 0;
  std::string first_skipped_;
};

int64_t total_size(const std::vector<std::string>& texts) {
  int64_t total = 0;
  for (const std::string& text : texts) {
    std::error_code unknown;
    const auto size = text == "-" ? 0 : fs::file_size(text, unknown);
    if (text == "-" || unknown) return 0;
    total += static_cast<int64_t>(size);
  }
  return total;
}

}  // namespace

PreparedInfo prepare(const PrepareRequest& request, const Tokenizer& tokenizer, std::FILE* standard_input,
                     const std::function<void(const PrepareProgress&)>& progress) {
  const auto end_id = tokenizer.end_id();
  if (!end_id) {
    throw DataError(
        fmt::format("[tokenizer] {} has no end-of-document token, need one between documents. Use a "
                    "tokenizer with </s>, <|end_of_text|> or <|endoftext|>.",
                    tokenizer.name()));
  }
  TokenFileWriter writer(request.out, tokenizer.vocab_size());
  DocumentEncoder encoder(tokenizer, *end_id, writer);
  PrepareProgress state{.total_bytes = total_size(request.texts)};
  const auto on_read = [&](int64_t bytes) {
    state.bytes += bytes;
    state.tokens = writer.num_tokens();
    state.documents = writer.num_documents();
    if (progress) progress(state);
  };
  DocumentReader reader(request, encoder, on_read);
  for (const std::string& path : request.texts) reader.read(path, standard_input);
  if (writer.num_documents() == 0 && reader.skipped_lines() > 0)
    throw DataError(fmt::format("[data] every line is bad. The first: {}.", reader.first_skipped()));
  PreparedInfo info{.tokenizer = tokenizer.name(),
                    .tokenizer_hash = tokenizer.hash(),
                    .vocab_size = tokenizer.vocab_size(),
                    .num_documents = writer.num_documents(),
                    .skipped_lines = reader.skipped_lines(),
                    .first_skipped = reader.first_skipped()};
  AtomicFile info_file(fs::path(request.out) += ".json");
  writer.finish(request.valid_fraction, [&](TokenFileWriter::Split split) {
    info.train_tokens = split.train_tokens;
    info.valid_tokens = split.valid_tokens;
    info_file.write(to_json_text(info));
    info_file.sync();
  });
  info_file.publish();
  on_read(0);
  return info;
}

}  // namespace trine
