#include "common/isa.h"
#include "execute/execute_check.h"
#include "execute/execute_kernel.h"

#include <vector>

namespace pyvqa {
namespace {

constexpr int64_t kGrain = 256;  // programs a thread takes at a time: about 10 us of work

struct Table {
  std::vector<int64_t> words;
  int registers = 2;  // the two-register machine names no register but the second operand's
  int64_t end_id = -1;

  explicit Table(const Tensor& table) : words(table.size(0)) {
    const int64_t* from = table.const_data_ptr<int64_t>();
    int64_t ends = 0;
    for (size_t i = 0; i < words.size(); ++i) {
      words[i] = checked_instruction(from[i]);
      if (needs_many_registers(words[i])) registers = kRegisters;
      if ((words[i] & 0xff) == static_cast<int64_t>(Op::end)) {
        end_id = static_cast<int64_t>(i);
        ++ends;
      }
    }
    if (ends != 1) end_id = -1;
  }
};

void run(const ExecuteTensors& tensors, const Results& results, int64_t width) {
  const Table table(tensors.programs.table);
  Job job = tensors.job(table.words.data());
  job.end_id = table.end_id;
  const ExecuteCall call{&job, &results, static_cast<int>(width), table.registers,
                         tensors.programs.id_bytes};
  const auto kernel = PV_DISPATCH(execute_rows);
  torch::stable::parallel_for(0, job.rows, kGrain,
                              [&](int64_t begin, int64_t end) { kernel(call, begin, end); });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> execute_cpu(const Tensor& programs, const Tensor& table,
                                                       const Tensor& scene_index,
                                                       const Tensor& words, const Tensor& offsets,
                                                       int64_t width, const Tensor& string_answers,
                                                       const Tensor& integer_answers,
                                                       bool with_sets) {
  const ExecuteTensors t(programs, table, scene_index, words, offsets, width);
  const AnswerTensors answers(programs, string_answers, integer_answers, width, with_sets);
  Results out = t.results();
  answers.add_to(out);
  run(t, out, width);
  return {t.kind, t.value, answers.answer, answers.sets};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> execute_trace_cpu(
    const Tensor& programs, const Tensor& table, const Tensor& scene_index, const Tensor& words,
    const Tensor& offsets, int64_t width) {
  const ExecuteTensors t(programs, table, scene_index, words, offsets, width);
  const TraceTensors trace(programs, width);
  Results out = t.results();
  trace.add_to(out);
  run(t, out, width);
  return {t.kind, t.value, trace.kinds, trace.values, trace.sets};
}

Tensor verify_cpu(const Tensor& programs, const Tensor& table) {
  const Programs p = check_programs(programs, table);
  const Tensor status = torch::stable::new_empty(programs, {programs.size(0)}, ScalarType::Char);
  const Table checked(p.table);
  Job job = verify_job(p, checked.words.data());
  job.end_id = checked.end_id;
  const ExecuteCall call{&job, nullptr, 1, 2, p.id_bytes};
  int8_t* out = status.mutable_data_ptr<int8_t>();
  const auto kernel = PV_DISPATCH(verify_rows);
  torch::stable::parallel_for(0, job.rows, kGrain,
                              [&](int64_t begin, int64_t end) { kernel(call, out, begin, end); });
  return status;
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) {
  m.impl("execute", TORCH_BOX(&pyvqa::execute_cpu));
  m.impl("execute_trace", TORCH_BOX(&pyvqa::execute_trace_cpu));
  m.impl("verify", TORCH_BOX(&pyvqa::verify_cpu));
}
