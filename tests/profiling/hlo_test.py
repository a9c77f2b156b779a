"""Every instruction is of a part, by its name or by what it serves."""

import re

from dicm_jax.profiling import hlo

TEXT = re.sub(
  r"@(\S+)",
  r'metadata={op_name="jit(step)/\1"}',
  """HloModule jit_step, is_scheduled=true

FileNames
1 "train.py"

%fused_computation (p.1: f32[4]) -> f32[4] {
  %p.1 = f32[4]{0} parameter(0)
  %mul.1 = f32[4]{0} multiply(%p.1, %p.1), @ctr_net/mul
  %mul.2 = f32[4]{0} multiply(%mul.1, %p.1), @ctr_net/mul
  ROOT %add.1 = f32[4]{0} add(%mul.2, %p.1), @dense_update/add
}

%body.1 (arg.1: (s32[], f32[4])) -> (s32[], f32[4]) {
  %arg.1 = (s32[], f32[4]{0}) parameter(0)
  %counter.1 = s32[] get-tuple-element(%arg.1), index=0
  %rows.1 = f32[4]{0} get-tuple-element(%arg.1), index=1
  %next.1 = s32[] add(%counter.1, %counter.1), @while/body/add
  %dot.1 = f32[4]{0} dot(%rows.1), @routing/while/body/jvp(layers)/dot
  ROOT %tuple.1 = (s32[], f32[4]{0}) tuple(%next.1, %dot.1)
}

%condition.1 (arg.2: (s32[], f32[4])) -> pred[] {
  %arg.2 = (s32[], f32[4]{0}) parameter(0)
  ROOT %less.1 = pred[] custom-call(%arg.2)
}

ENTRY %main.1 (x.1: f32[4]) -> f32[4] {
  %x.1 = f32[4]{0} parameter(0)
  %zeros.1 = f32[4]{0} broadcast(), dimensions={}
  %copy.1 = f32[4]{0} copy(%zeros.1)
  %fusion.1 = f32[4]{0} fusion(%copy.1), calls=%fused_computation
  %fusion.2 = f32[4]{0} fusion(%x.1), calls=%fused_computation, @sparse_update/x
  %all-to-all.1 = f32[4]{0} all-to-all(%fusion.2), @routing/images.rows/x
  %while.1 = () while(%copy.1), condition=%condition.1, body=%body.1, @frozen/x
  %call.1 = f32[4]{0} call(%x.1), to_apply=%fused_computation
  %all-to-all.2 = f32[4]{0} all-to-all(%call.1), @routing/images.rows/x
  ROOT %step.1 = s32[] add(%x.1, %x.1), @add
}
""",
)
"""`@a/b` stands for the op_name of what was written in the scope a."""


def test_names_fusions_loop_bodies_and_what_serves_them_have_a_part():
  found = hlo.part_of_instructions(TEXT)
  assert found["mul.1"] == "ctr_net"
  # Its own name comes before its body's, and the innermost part counts.
  assert found["fusion.2"] == "sparse_update"
  assert found["all-to-all.1"] == "routing"
  assert found["dot.1"] == "layers"
  # Nameless: the most frequent of the body, then whoever takes it.
  assert found["fusion.1"] == "ctr_net"
  assert found["copy.1"] == found["zeros.1"] == "ctr_net"
  # What a loop does for itself is the loop's.
  assert found["next.1"] == found["less.1"] == found["while.1"] == "frozen"
  # A nameless call may run all kinds of parts.
  assert "call.1" not in found
  assert "step.1" not in found


def test_module_is_the_name_of_the_program():
  assert hlo.module_of(TEXT) == "jit_step"
  assert hlo.module_of("") == ""
