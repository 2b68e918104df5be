// Programs of a file (node lists) -> rows of ids and one table of instructions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "programs/languages.h"

namespace pyvqa {

// Node lists of many programs, flattened: the nodes of program q are [program_offsets[q],
// program_offsets[q + 1]); node k calls functions[node_functions[k]] on the nodes
// inputs[input_offsets[k] .. input_offsets[k + 1]), counted from the program's first node.
struct ProgramNodes {
  const int64_t* program_offsets;
  int64_t programs;
  const int32_t* node_functions;
  const int64_t* input_offsets;
  const int32_t* inputs;
  int64_t nodes;
};

struct CompiledPrograms {
  std::vector<int32_t> rows;  // [programs, length], padded with the end id
  int64_t length = 0;
  std::vector<int64_t> table;
};

class ProgramCompiler {
 public:
  ProgramCompiler(Language language, const std::vector<std::string>& functions,
                  const ProgramNodes& nodes)
      : language_(language), nodes_(nodes), functions_(functions) {
    for (const std::string& f : functions) instructions_.push_back(instruction(language, f));
  }

  CompiledPrograms compile() {
    std::vector<std::vector<int32_t>> rows(static_cast<size_t>(nodes_.programs));
    const int32_t end = intern(Instruction{.op = Op::end});
    for (int64_t q = 0; q < nodes_.programs; ++q) {
      std::vector<int32_t>& row = rows[static_cast<size_t>(q)];
      check(q);
      if (language_ == Language::clevr) prefix(q, row);
      else by_register(q, row);
      row.push_back(end);
      out_.length = std::max(out_.length, static_cast<int64_t>(row.size()));
    }
    out_.rows.assign(static_cast<size_t>(nodes_.programs * out_.length), end);
    for (size_t q = 0; q < rows.size(); ++q)
      std::copy(rows[q].begin(), rows[q].end(),
                out_.rows.begin() + static_cast<int64_t>(q) * out_.length);
    return std::move(out_);
  }

 private:
  static constexpr size_t kMaxTokens =
      4096;  // a shared node is written once per use: bounds the growth

  const Language language_;
  const ProgramNodes nodes_;
  const std::vector<std::string>& functions_;
  std::vector<std::optional<Instruction>> instructions_;
  std::unordered_map<int64_t, int32_t> ids_;
  CompiledPrograms out_;

  [[noreturn]] static void fail(int64_t program, const std::string& what) {
    throw std::invalid_argument("program " + std::to_string(program) + ": " + what);
  }

  int32_t intern(const Instruction& instruction) {
    const auto [found, fresh] =
        ids_.try_emplace(instruction.word(), static_cast<int32_t>(out_.table.size()));
    if (fresh) out_.table.push_back(instruction.word());
    return found->second;
  }

  int64_t first(int64_t q) const { return nodes_.program_offsets[q]; }
  int64_t count(int64_t q) const { return nodes_.program_offsets[q + 1] - first(q); }
  int64_t arity(int64_t k) const { return nodes_.input_offsets[k + 1] - nodes_.input_offsets[k]; }
  int32_t input(int64_t k, int64_t i) const { return nodes_.inputs[nodes_.input_offsets[k] + i]; }

  // Every function known, every input an earlier node.
  void check(int64_t q) const {
    for (int64_t i = 0; i < count(q); ++i) {
      const int64_t k = first(q) + i;
      const int32_t f = nodes_.node_functions[k];
      if (f < 0 || static_cast<size_t>(f) >= functions_.size()) fail(q, "function id out of range");
      if (!instructions_[static_cast<size_t>(f)])
        fail(q, "unknown function '" + functions_[static_cast<size_t>(f)] + "' at node " +
                    std::to_string(i));
      for (int64_t a = 0; a < arity(k); ++a)
        if (input(k, a) < 0 || input(k, a) >= i)
          fail(q, "node " + std::to_string(i) + " uses node " + std::to_string(input(k, a)) +
                      "; inputs must be earlier nodes");
    }
  }

  Instruction instruction_of(int64_t k) const {
    const Instruction found = *instructions_[static_cast<size_t>(nodes_.node_functions[k])];
    if (operands(found.op) == arity(k)) return found;
    return {.op = Op::fail, .arg0 = static_cast<uint16_t>(Reason::bad_arity)};
  }

  // Pre-order from the root, inputs left to right: NS-VQA's prefix form.
  void prefix(int64_t q, std::vector<int32_t>& row) {
    if (count(q) == 0) return;
    std::vector<int64_t> waiting{count(q) - 1};
    while (!waiting.empty()) {
      const int64_t k = first(q) + waiting.back();
      waiting.pop_back();
      if (row.size() >= kMaxTokens)
        fail(q, "longer than " + std::to_string(kMaxTokens) + " tokens in prefix form");
      row.push_back(intern(instruction_of(k)));
      for (int64_t a = arity(k) - 1; a >= 0; --a) waiting.push_back(input(k, a));
    }
  }

  // Nodes in file order, results in registers while they are needed; written back to front because
  // a row is executed from its end.
  void by_register(int64_t q, std::vector<int32_t>& row) {
    const int64_t n = count(q);
    if (static_cast<size_t>(n) > kMaxTokens)
      fail(q, "more than " + std::to_string(kMaxTokens) + " nodes");
    // last[i]: the last node that reads node i from a register (its first operand may be the
    // accumulator)
    std::vector<int64_t> last(static_cast<size_t>(n), -1);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t a = 0; a < arity(first(q) + i); ++a) {
        const int32_t from = input(first(q) + i, a);
        if (a > 0 || from != i - 1) last[static_cast<size_t>(from)] = i;
      }
    std::vector<uint8_t> home(static_cast<size_t>(n), 0);
    std::vector<int64_t> busy_until(kRegisters, -1);  // node that reads the register last
    for (int64_t i = 0; i < n; ++i) {
      const int64_t k = first(q) + i;
      Instruction ins = instruction_of(k);
      if (ins.op != Op::fail) {
        if (arity(k) > 0 && input(k, 0) != i - 1)
          ins.first = home[static_cast<size_t>(input(k, 0))];
        if (arity(k) > 1) ins.second = home[static_cast<size_t>(input(k, 1))];
      }
      if (last[static_cast<size_t>(i)] >= 0) {
        uint8_t r = 1;
        while (r < kRegisters && busy_until[r] > i) ++r;
        if (r == kRegisters)
          fail(q, "more than " + std::to_string(kRegisters - 1) + " results are needed at once");
        busy_until[r] = last[static_cast<size_t>(i)];
        ins.save = home[static_cast<size_t>(i)] = r;
      }
      row.push_back(intern(ins));
    }
    std::reverse(row.begin(), row.end());
  }
};

}  // namespace pyvqa
