"""Losses against a teacher, against loops over views."""

import torch

from training.objectives.teacher_losses import Student, distillation_loss, teacher_triplet_loss
from training.settings.config import Distillation

SETTINGS = Distillation(full=4.0, reduced=0.5, full_triplet=1.0, reduced_triplet=2.0, triplet_margin=0.3)


def student_of(seed: int = 0) -> tuple[Student, torch.Tensor, torch.Tensor]:
    """Eight views of four photos of three people, the second half reduced; the teacher's embeddings, labels."""
    generator = torch.Generator().manual_seed(seed)
    teachers = torch.randn(4, 5, dtype=torch.float64, generator=generator)
    embeddings = torch.randn(8, 5, dtype=torch.float64, generator=generator).requires_grad_()
    labels = torch.tensor([0, 0, 1, 2])
    return Student(embeddings, labels.repeat(2), torch.arange(8) >= 4, teachers.repeat(2, 1)), teachers, labels


def cosine_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(1 - torch.dot(a, b) / (a.norm() * b.norm()))


def test_distillation_is_the_weighted_mean_of_each_kind_of_view() -> None:
    student, _, _ = student_of()
    values = [cosine_distance(a, b) for a, b in zip(student.embeddings.detach(), student.targets, strict=True)]
    expected = 4.0 * sum(values[:4]) / 4 + 0.5 * sum(values[4:]) / 4
    assert abs(float(distillation_loss(student, SETTINGS).detach()) - expected) < 1e-12


def test_triplets_among_the_teachers_embeddings_equal_a_loop() -> None:
    student, teachers, labels = student_of(1)
    expected = 0.0
    for rows, weight in ((range(4), 1.0), (range(4, 8), 2.0)):
        for row in rows:
            distances = [cosine_distance(student.embeddings[row].detach(), teacher) for teacher in teachers]
            same = [bool(label == student.labels[row]) for label in labels]
            far = max(d for d, one in zip(distances, same, strict=True) if one)
            near = min(d for d, one in zip(distances, same, strict=True) if not one)
            expected += weight * max(0.0, far - near + 0.3) / 4
    assert abs(float(teacher_triplet_loss(student, teachers, labels, SETTINGS).detach()) - expected) < 1e-12


def test_weights_of_zero_leave_nothing() -> None:
    student, teachers, labels = student_of(2)
    off = Distillation()
    assert not off.is_on
    assert float(distillation_loss(student, off)) == 0
    assert float(teacher_triplet_loss(student, teachers, labels, off)) == 0


def test_views_of_one_kind_alone_are_finite() -> None:
    student, teachers, labels = student_of(3)
    full = Student(student.embeddings[:4], student.labels[:4], student.reduced[:4], student.targets[:4])
    loss = distillation_loss(full, SETTINGS) + teacher_triplet_loss(full, teachers, labels, SETTINGS)
    loss.backward()
    assert student.embeddings.grad is not None
    assert torch.isfinite(student.embeddings.grad).all()
