"""What every backend must do, whatever protocol it speaks."""
