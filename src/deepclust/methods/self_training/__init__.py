"""Methods that sharpen their own soft assignments and learn them: DEC's family."""
